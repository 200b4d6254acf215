//! How waits of goroutines are followed, as the command line has it.

use clap::ValueEnum;

use crate::collect::Following;

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum FollowingArg {
    /// All the time while that costs little, else in windows
    #[default]
    Auto,
    /// All the time: every wait is counted, whatever that costs
    Always,
    /// In windows of 100 ms, and estimate the rest
    Windows,
    /// Not at all
    Off,
}

impl From<FollowingArg> for Following {
    fn from(arg: FollowingArg) -> Self {
        match arg {
            FollowingArg::Auto => Self::Auto,
            FollowingArg::Always => Self::Always,
            FollowingArg::Windows => Self::Windows,
            FollowingArg::Off => Self::Off,
        }
    }
}
