//! A real LDAP server: Debian's slapd with a folder, a port and a few people of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::clock;
use crate::gateway::is_open;
use crate::ports::free_address;
use crate::tls::Authority;

/// Weir's own name and password there: it may read, and nothing else.
pub const BIND: (&str, &str) = ("cn=weir,dc=example,dc=com", "a password: of weir*");

/// People: Ada and Bob, one called `a*b`, two that share an address; a group of Ada and `a*b`, and one of Bob.
const PEOPLE: &str = include_str!("../cases/ldap.ldif");

/// A running server; it ends when this is dropped.
pub struct Slapd {
    /// Plain, and StartTLS.
    pub address: SocketAddr,
    /// TLS from the first byte.
    pub tls_address: SocketAddr,
    /// Who signed its certificate, for `localhost`.
    pub authority: Authority,
    folder: TempDir,
    packages: PathBuf,
    child: Option<Child>,
}

impl Slapd {
    /// Starts one; `None`, with a note, where `$WEIR_SLAPD` names no folder of packages.
    ///
    /// # Panics
    /// It does not start soon.
    pub async fn start() -> Option<Self> {
        let Some(packages) = std::env::var_os("WEIR_SLAPD").filter(|folder| !folder.is_empty()) else {
            println!("WEIR_SLAPD names no folder: tests with a real LDAP server are skipped");
            return None;
        };
        let folder = tempfile::tempdir().expect("room for a folder");
        fs::create_dir(folder.path().join("db")).expect("room for a folder");
        let (address, tls_address) = (free_address(), free_address());
        let authority = Authority::default();
        let mut server = Self { address, tls_address, authority, folder, packages: packages.into(), child: None };
        server.write("ca.pem", &server.authority.ca_pem);
        server.write("cert.pem", &server.authority.cert_pem);
        server.write("key.pem", &server.authority.key_pem);
        server.write("people.ldif", PEOPLE);
        server.write("slapd.conf", &server.config());
        let mut add = server.command(&["-T", "add"]);
        add.arg("-l").arg(server.path("people.ldif"));
        let done = clock::soon("slapadd", add.output()).await.expect("slapd runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        server.back().await;
        Some(server)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("room for a file");
    }

    fn config(&self) -> String {
        let own = |name: &str| self.path(name).display().to_string();
        let package = |name: &str| self.packages.join(name).display().to_string();
        let schema = |name: &str| format!("include {}/{name}.schema\n", package("etc/ldap/schema"));
        let (dn, password) = BIND;
        let schemas: String = ["core", "cosine", "inetorgperson"].map(schema).concat();
        format!(
            "{schemas}modulepath {}\nmoduleload back_mdb\nmoduleload memberof\n\
             TLSCACertificateFile {}\nTLSCertificateFile {}\nTLSCertificateKeyFile {}\n\
             database mdb\nmaxsize 10485760\nsuffix \"dc=example,dc=com\"\n\
             rootdn \"{dn}\"\nrootpw \"{password}\"\ndirectory {}\noverlay memberof\n\
             access to * by anonymous auth by * none\n",
            package("usr/lib/ldap"),
            own("ca.pem"),
            own("cert.pem"),
            own("key.pem"),
            own("db"),
        )
    }

    /// What makes it another tool has to come first.
    fn command(&self, tool: &[&str]) -> Command {
        let mut command = Command::new(self.packages.join("usr/sbin/slapd"));
        let libraries = ["usr/lib", "lib"].map(|base| {
            let multiarch = Path::new(base).join(format!("{}-linux-gnu", std::env::consts::ARCH));
            self.packages.join(multiarch).display().to_string()
        });
        command.env("LD_LIBRARY_PATH", libraries.join(":")).args(tool).arg("-f").arg(self.path("slapd.conf"));
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Starts it, again after it went away.
    ///
    /// # Panics
    /// It does not start soon.
    pub async fn back(&mut self) {
        let urls = format!("ldap://{} ldaps://{}", self.address, self.tls_address);
        let mut command = self.command(&[]);
        // In the foreground, without a word.
        command.args(["-d", "0", "-h", &urls]).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("slapd runs"));
        let (plain, tls) = (self.address, self.tls_address);
        clock::eventually("slapd listens", async || (is_open(plain).await && is_open(tls).await).then_some(())).await;
    }

    /// Ends it.
    ///
    /// # Panics
    /// It does not end soon.
    pub async fn away(&mut self) {
        let mut child = self.child.take().expect("a running server");
        child.start_kill().expect("a child of ours");
        clock::soon("slapd ends", child.wait()).await.expect("a child of ours");
    }

    /// Stops it where it stands: it takes connections and answers nothing.
    ///
    /// # Panics
    /// It does not run.
    pub fn hang(&self) {
        let id = self.child.as_ref().and_then(Child::id).expect("a running server");
        let pid = Pid::from_raw(i32::try_from(id).expect("a small number")).expect("not zero");
        kill_process(pid, Signal::STOP).expect("a child of ours");
    }
}
