//! Real servers, on ports and in directories of their own.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;

use crate::process::{Guard, poll};

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

/// Starts nginx as one process on `port`, with all its files in `place`, and waits until it answers.
///
/// # Errors
/// If it can't be started.
pub fn start_nginx(program: &Path, place: &Path, port: u16) -> Result<Guard> {
    let path = place.display();
    let configuration = place.join("nginx.conf");
    fs::write(
        &configuration,
        format!(
            "daemon off; master_process off; worker_processes 1; pid {path}/pid; error_log {path}/error.log;
            events {{ worker_connections 256; }}
            http {{
                access_log {path}/access.log; client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;
                fastcgi_temp_path {path}/fastcgi; uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;
                server {{ listen 127.0.0.1:{port}; root {path}; }}
            }}\n"
        ),
    )?;
    let mut command = Command::new(program);
    command.arg("-p").arg(place).arg("-c").arg(configuration).stderr(Stdio::null());
    let server = Guard::spawn(&mut command)?;
    wait_for_port(port)?;
    Ok(server)
}

/// Finds a program, also where only root looks.
pub fn find_program(name: &str) -> Option<PathBuf> {
    ["/usr/local/bin", "/usr/bin", "/usr/sbin", "/bin", "/sbin"]
        .iter()
        .map(|place| PathBuf::from(place).join(name))
        .find(|path| path.exists())
}
