//! A page in a browser, used as people use it: by a mouse, a keyboard and what can be read.
//!
//! The browser is told what to do over two pipes, in the protocol of its developer tools. Clicks and keys are real
//! ones: they go to whatever lies at that point and has the focus. What nobody would see is witnessed too: requests,
//! what is written to the console, violations of the page's policy, and content that jumped.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::chromium::Chromium;
use super::process::kill_group;

/// A page in a browser of its own. Dropped, both are gone.
pub(crate) struct Page {
    child: Child,
    to: RefCell<ChildStdin>,
    from: Receiver<Value>,
    last_id: Cell<u64>,
    session: String,
    witnessed: RefCell<Witnessed>,
    _profile: TempDir,
}

/// What happened unseen.
#[derive(Debug, Default)]
struct Witnessed {
    /// Addresses that were asked.
    requests: Vec<String>,
    /// Warnings, errors and exceptions.
    complaints: Vec<String>,
}

impl Page {
    /// An empty one, in a window of 1280 by 800.
    pub(crate) fn new(chromium: &Chromium) -> Self {
        let profile = tempfile::tempdir().expect("there is a place for it");
        // The protocol's pipes are the descriptors 3 and 4; the shell makes them of those that a child can be given.
        let mut command = chromium.command("/bin/sh", profile.path());
        command.args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null"]);
        command.arg(chromium.program()).args(FLAGS).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("there is a shell");
        let to = child.stdin.take().expect("it is piped");
        let mut messages = BufReader::new(child.stdout.take().expect("it is piped")).split(0);
        let (sender, from) = channel();
        thread::spawn(move || {
            while let Some(Ok(message)) = messages.next() {
                let message = serde_json::from_slice(&message).expect("the protocol is JSON");
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut page = Self {
            child,
            to: RefCell::new(to),
            from,
            last_id: Cell::new(0),
            session: String::new(),
            witnessed: RefCell::default(),
            _profile: profile,
        };
        let target = page.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = page.call("Target.attachToTarget", attach);
        attached["sessionId"].as_str().expect("it is one").clone_into(&mut page.session);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            page.call(&format!("{domain}.enable"), json!({}));
        }
        page.call("Page.addScriptToEvaluateOnNewDocument", json!({"source": WITNESS}));
        page.look(Look { width: 1280, height: 800, is_dark: false });
        page
    }

    /// Opens an address.
    pub(crate) fn open(&self, address: &str) {
        let answer = self.call("Page.navigate", json!({"url": address}));
        assert!(answer["errorText"].is_null(), "{address}: {answer}");
        self.until("document.readyState === 'complete'");
    }

    /// From now on it looks like that.
    pub(crate) fn look(&self, Look { width, height, is_dark }: Look) {
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
        let window = json!({"width": width, "height": height, "deviceScaleFactor": 1,
                            "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", window);
    }

    /// The value of an expression.
    #[track_caller]
    pub(crate) fn value(&self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", asked);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub(crate) fn until(&self, expression: &str) {
        let deadline = Instant::now() + LIMIT;
        while self.value(&format!("!!({expression})")) != true {
            assert!(
                Instant::now() < deadline,
                "`{expression}` does not come true: {}\n{:?}",
                self.value("document.body.innerText"),
                self.witnessed.borrow(),
            );
            thread::sleep(POLL);
        }
    }

    /// What can be read in the elements that `selector` finds.
    #[track_caller]
    pub(crate) fn text(&self, selector: &str) -> String {
        let texts = format!("[...document.querySelectorAll({selector:?})].map((e) => e.innerText)");
        let texts = self.value(&format!("{texts}.join('\\n')"));
        texts.as_str().expect("text").to_owned()
    }

    /// Waits until `text` can be read there.
    #[track_caller]
    pub(crate) fn until_text(&self, selector: &str, text: &str) {
        let found = format!("[...document.querySelectorAll({selector:?})]");
        self.until(&format!("{found}.some((e) => e.innerText.includes({text:?}))"));
    }

    /// Clicks in the middle of an element, which nothing may lie upon.
    #[track_caller]
    pub(crate) fn click(&self, selector: &str) {
        let middle = self.value(&format!(
            "(() => {{
                const element = document.querySelector({selector:?});
                element.scrollIntoView({{ block: 'nearest' }});
                const box = element.getBoundingClientRect();
                const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
                return element.contains(document.elementFromPoint(x, y)) ? {{ x, y }} : null;
            }})()"
        ));
        assert!(middle.is_object(), "`{selector}` cannot be clicked at");
        for (kind, buttons) in [("mouseMoved", 0), ("mousePressed", 1), ("mouseReleased", 0)] {
            let event = json!({"type": kind, "x": middle["x"], "y": middle["y"], "button": "left",
                               "buttons": buttons, "clickCount": 1});
            self.call("Input.dispatchMouseEvent", event);
        }
    }

    /// Types into what has the focus.
    pub(crate) fn types(&self, text: &str) {
        self.call("Input.insertText", json!({"text": text}));
    }

    /// Puts `text` in the place of what a field has.
    #[track_caller]
    pub(crate) fn fill(&self, selector: &str, text: &str) {
        self.click(selector);
        self.value(&format!("document.querySelector({selector:?}).select()"));
        self.types(text);
    }

    /// Presses a key, perhaps with Shift.
    pub(crate) fn press(&self, key: &str, with_shift: bool) {
        let (code, text) = match key {
            "Enter" => (13, "\r"),
            "Tab" => (9, ""),
            "Escape" => (27, ""),
            _ => panic!("`{key}` is not known here"),
        };
        let modifiers = if with_shift { 8 } else { 0 };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let event = json!({"type": kind, "key": key, "code": key, "text": text,
                               "windowsVirtualKeyCode": code, "modifiers": modifiers});
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// The roles and names that a screen reader is told, of what can be used.
    pub(crate) fn controls(&self) -> Vec<(String, String)> {
        const ROLES: [&str; 4] = ["button", "textbox", "spinbutton", "link"];
        let tree = self.call("Accessibility.getFullAXTree", json!({}));
        let nodes = tree["nodes"].as_array().expect("a list").iter();
        let text = |node: &Value, key: &str| node[key]["value"].as_str().unwrap_or("").to_owned();
        let controls = nodes.filter(|node| node["ignored"] == false);
        let controls = controls.map(|node| (text(node, "role"), text(node, "name")));
        controls.filter(|(role, _)| ROLES.contains(&role.as_str())).collect()
    }

    /// Leaves a picture of all of it in `target/tmp`, to be looked at.
    pub(crate) fn picture(&self, name: &str) -> PathBuf {
        let height = self.value("document.documentElement.scrollHeight");
        let width = self.value("innerWidth");
        let clip = json!({"x": 0, "y": 0, "width": width, "height": height, "scale": 1});
        let asked = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        let picture = self.call("Page.captureScreenshot", asked);
        let png = BASE64_STANDARD.decode(picture["data"].as_str().expect("a picture"));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, png.expect("base64")).expect("cargo made the folder");
        path
    }

    /// Nothing went wrong unseen, but for complaints that have one of the `expected` texts in them.
    #[track_caller]
    pub(crate) fn check(&self, origin: &str, expected: &[&str]) {
        let witness = self.value("witness");
        assert_eq!(witness["violations"], json!([]), "of the page's policy");
        assert!(witness["shift"].as_f64() < Some(SHIFT_MAX), "content jumped: {witness}");
        let witnessed = self.witnessed.borrow();
        let elsewhere = witnessed.requests.iter().find(|address| !address.starts_with(origin));
        assert_eq!(elsewhere, None, "a request to another place than {origin}");
        let is_expected =
            |complaint: &&String| expected.iter().any(|text| complaint.contains(text));
        let complaint = witnessed.complaints.iter().find(|complaint| !is_expected(complaint));
        assert_eq!(complaint, None);
    }

    #[track_caller]
    fn call(&self, method: &str, params: Value) -> Value {
        let id = self.last_id.get() + 1;
        self.last_id.set(id);
        let mut message = json!({"id": id, "method": method});
        message["params"] = params;
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let message = message.to_string() + "\0";
        self.to.borrow_mut().write_all(message.as_bytes()).expect("the browser lives");
        loop {
            let message = self.from.recv_timeout(LIMIT);
            let mut message = message.unwrap_or_else(|error| panic!("{method}: {error}"));
            if message["id"] != id {
                self.witnessed.borrow_mut().take(&message);
                continue;
            }
            assert!(message["error"].is_null(), "{method}: {message}");
            return message["result"].take();
        }
    }
}

impl Witnessed {
    fn take(&mut self, event: &Value) {
        let params = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => {
                self.requests.push(params["request"]["url"].as_str().unwrap_or("").to_owned());
            }
            "Runtime.exceptionThrown" => self.complaints.push(params.to_string()),
            "Runtime.consoleAPICalled" if params["type"] != "log" => {
                self.complaints.push(params.to_string());
            }
            "Log.entryAdded" if params["entry"]["level"] != "verbose" => {
                self.complaints.push(params["entry"].to_string());
            }
            _ => {}
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        kill_group(&self.child);
        let _ = self.child.wait();
    }
}

/// How a page is looked at.
#[derive(Clone, Copy)]
pub(crate) struct Look {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) is_dark: bool,
}

/// How much of the window may move, and how far, as Chromium's `layout-shift` measures it. A tenth is taken for good;
/// an answer that grows by a line moves what stands below it by less than a hundredth.
const SHIFT_MAX: f64 = 0.01;

const FLAGS: [&str; 11] = [
    "--headless",
    "--remote-debugging-pipe",
    // Containers and root have no sandbox; all that is shown here is our own.
    "--no-sandbox",
    // There is no GPU, and no OpenGL in the package.
    "--disable-gpu",
    "--disable-software-rasterizer",
    // It is 64 MB in containers.
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--font-render-hinting=none",
];

const WITNESS: &str = "
    window.witness = { violations: [], shift: 0, shifted: [] };
    document.addEventListener('securitypolicyviolation', (event) => {
        witness.violations.push(`${event.violatedDirective}: ${event.blockedURI}`);
    });
    new PerformanceObserver((list) => {
        for (const { value, hadRecentInput, sources } of list.getEntries()) {
            if (hadRecentInput) continue;
            witness.shift += value;
            witness.shifted.push(...sources.map(({ node }) => node?.id || node?.className || node?.nodeName));
        }
    }).observe({ type: 'layout-shift', buffered: true });
";

/// No page of ours keeps anybody waiting for longer, on a busy machine with two cores.
const LIMIT: Duration = Duration::from_secs(30);

/// Often enough for nobody to wait.
const POLL: Duration = Duration::from_millis(10);
