//! The real binary.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

/// `firstlight serve`. Dropped, it is killed.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Begins to serve `model` at a port that was free a moment ago. Does not wait.
    pub(crate) fn start(model: &str, environment: &[(&'static str, String)]) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let address = free.expect("a free port");
        let mut command = firstlight(environment);
        command.args(["serve", model, "--host=127.0.0.1", "--served-model-name=model"]);
        command.arg(format!("--port={}", address.port())).stdout(Stdio::null());
        Self { child: command.spawn().expect("the binary is there"), address }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it was killed");
    }
}

/// With no credentials but those given.
pub(crate) fn firstlight(environment: &[(&'static str, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_firstlight"));
    command
        .env_clear()
        .envs(environment.iter().cloned())
        .envs([("AWS_CONFIG_FILE", "/dev/null"), ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")])
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    command
}
