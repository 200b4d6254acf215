//! Real servers, on ports and in directories of their own.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::process::poll;

/// A TCP port of the loopback that is free now.
///
/// # Errors
/// If there is none.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Waits until something accepts connections.
///
/// # Errors
/// If nothing does in time.
pub fn wait_for_port(port: u16) -> Result<()> {
    poll("the server accepts connections", Duration::from_secs(60), || {
        Ok(TcpStream::connect(("127.0.0.1", port)).ok().map(drop))
    })
}

/// Finds a program, also where only root looks.
pub fn find_program(name: &str) -> Option<PathBuf> {
    ["/usr/local/bin", "/usr/bin", "/usr/sbin", "/bin", "/sbin"]
        .iter()
        .map(|place| PathBuf::from(place).join(name))
        .find(|path| path.exists())
}
