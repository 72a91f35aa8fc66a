//! The real binary as a Lambda function, under a runtime API that gives it events.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::process::{Firstlight, kill_group};
use super::runtime_api::{Answered, RuntimeApi};

/// A function that runs. Dropped, it is killed.
pub(crate) struct Function {
    child: Child,
    pub(crate) api: RuntimeApi,
}

impl Function {
    /// Starts it with the demo model, and with what `with` adds.
    pub(crate) fn start(with: impl FnOnce(Firstlight) -> Firstlight) -> Self {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/demo-model");
        let api = RuntimeApi::start();
        let environment = [
            ("MODEL", model.to_str().expect("UTF-8").to_owned()),
            ("AWS_LAMBDA_RUNTIME_API", api.address()),
            ("AWS_LAMBDA_FUNCTION_NAME", "f".to_owned()),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "3008".to_owned()),
        ];
        let none: [&str; 0] = [];
        let mut command = with(Firstlight::new(none).envs(environment)).into_command();
        command.arg0("/var/task/bootstrap").process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        Self { child: command.spawn().expect("the binary is there"), api }
    }

    pub(crate) fn invoke(&self, payload: &Value) -> Answered {
        self.api.invoke(payload)
    }

    pub(crate) fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        kill_group(&self.child);
        let _ = self.child.wait();
        if !thread::panicking() {
            assert_eq!(self.api.faults(), [""; 0]);
        }
    }
}
