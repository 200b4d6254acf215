//! Arguments of `top`.

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cli::Failure;
use crate::cli::duration::duration;
use crate::cli::settings::FoundWrapperArgs;
use crate::cli::target::OptionalTargetArgs;
use crate::cli::top::{TopConfig, TopFormat};
use crate::processes::Order;

/// Arguments of `top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    #[command(flatten)]
    target: OptionalTargetArgs,
    /// Time between refreshes [default: 2s; 1s of one process]
    #[arg(short, long, value_parser = duration, allow_negative_numbers = true)]
    interval: Option<Duration>,
    /// End after so many refreshes
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..))]
    iterations: Option<u32>,
    /// Order of the list
    #[arg(long, value_enum, default_value_t = OrderArg::Growth)]
    sort: OrderArg,
    /// List only processes whose name, command line, unit, container, runtime or PID holds TEXT
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
    #[command(flatten)]
    wrappers: FoundWrapperArgs,
    /// A screen, one JSON array at the end, or a line of JSON at each refresh
    #[arg(long, value_enum, default_value_t = TopFormatArg::Screen)]
    format: TopFormatArg,
    /// Panic at the first refresh of the screen, to show that the terminal is given back
    #[arg(long, hide = true)]
    break_screen: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OrderArg {
    Growth,
    Rss,
    FullIn,
    Blocked,
    Threads,
    Name,
    Pid,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TopFormatArg {
    Screen,
    Json,
    Jsonl,
}

impl TopArgs {
    /// The configuration that these arguments ask for.
    pub fn into_config(self) -> Result<TopConfig, Failure> {
        let format = match self.format {
            TopFormatArg::Screen => TopFormat::Screen,
            TopFormatArg::Json => TopFormat::Json,
            TopFormatArg::Jsonl => TopFormat::JsonLines,
        };
        Ok(TopConfig {
            charging: self.wrappers.charging()?,
            pid: self.target.pid()?,
            interval: self.interval,
            iterations: self.iterations,
            order: match self.sort {
                OrderArg::Growth => Order::Growth,
                OrderArg::Rss => Order::Rss,
                OrderArg::FullIn => Order::FullIn,
                OrderArg::Blocked => Order::Blocked,
                OrderArg::Threads => Order::Threads,
                OrderArg::Name => Order::Name,
                OrderArg::Pid => Order::Pid,
            },
            filter: self.filter,
            format,
            break_screen: self.break_screen,
        })
    }
}
