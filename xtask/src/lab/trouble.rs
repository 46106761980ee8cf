//! Ports where something is wrong: networks that are slow or cut, servers that are not what one thinks, and a builder that
//! is asleep. One process for all of them, in the lab's network.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::builder::{self, ROSETTA};
use super::state::State;

/// Accepts, and never says anything.
pub(crate) const SILENT: u16 = 32310;
/// Accepts, and closes at once.
pub(crate) const CLOSED: u16 = 32311;
/// Bee behind a long line.
pub(crate) const SLOW: u16 = 32312;
/// Bee, until much has come from there.
pub(crate) const CUT: u16 = 32313;
/// A web server.
pub(crate) const WEB: u16 = 32314;
/// Bee's name and user, and not its host key.
pub(crate) const IMPOSTOR: u16 = 32315;
/// nix-rosetta-builder with `onDemand`.
pub(crate) const ON_DEMAND: u16 = 32316;
/// A web server whose certificate nobody has signed who is known.
const UNKNOWN: u16 = 32317;
/// Where nobody listens.
pub(crate) const NOBODY: u16 = 9;

/// How long anything takes from one end of the slow line to the other.
const ONE_WAY: Duration = Duration::from_millis(50);
/// How much comes through before the line is cut.
const CUT_AFTER: usize = 200_000;
/// How long the builder on demand boots.
const BOOT: Duration = Duration::from_secs(3);
/// In the directory of events: a test wants the builder on demand to fall asleep. In life it does so after hours without a connection.
const SLEEPS: &str = "events/rosetta-sleeps";
/// Where hosts see what the builder on demand leaves in [`on_demand_dir`].
pub(crate) const ON_DEMAND_DIR: &str = "/lab/mac/rosetta-on-demand";

/// The directory with `log`, a line for each boot, and, while it is not asleep, `awake`.
pub(crate) fn on_demand_dir(state: &State) -> PathBuf {
    state.live("rosetta-on-demand")
}

/// Whether the ports are there.
pub(crate) fn ready(state: &State) -> bool {
    state.live("trouble").exists()
}

/// Turns this process into the keeper of the ports.
pub(crate) fn run(state: &State) -> Result<()> {
    let bee = builder::parse("bee")?;
    // Then the network is up, too.
    bee.wait_for_keys(state)?;
    serve(SILENT, |mut stream| io::copy(&mut stream, &mut io::sink()).map(drop))?;
    serve(CLOSED, |_| Ok(()))?;
    serve(WEB, refuse_as_a_web_server)?;
    serve(SLOW, |stream| proxy(&stream, bee.port, ONE_WAY, usize::MAX))?;
    serve(CUT, |stream| proxy(&stream, bee.port, Duration::ZERO, CUT_AFTER))?;
    serve(IMPOSTOR, |stream| proxy(&stream, builder::BEES_IMPOSTOR, Duration::ZERO, usize::MAX))?;
    let on_demand = OnDemand::new(&on_demand_dir(state), state.live(SLEEPS))?;
    let for_connections = Arc::clone(&on_demand);
    serve(ON_DEMAND, move |stream| for_connections.connection(&stream))?;
    let mut web = unknown_certificate(state)?;
    File::create(state.live("trouble"))?;
    loop {
        thread::sleep(Duration::from_millis(100));
        on_demand.sleep_if_told()?;
        if let Some(status) = web.try_wait()? {
            bail!("the web server with the unknown certificate ended: {status}");
        }
    }
}

/// Starts it, with a certificate that was made just now.
fn unknown_certificate(state: &State) -> Result<Child> {
    let (key, cert) = (state.live("unknown.key"), state.live("unknown.cert"));
    let mut make = Command::new("openssl");
    make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    make.args(["-days", "1", "-subj", "/CN=127.0.0.1", "-keyout"]).arg(&key).arg("-out").arg(&cert);
    crate::sh::quiet(&mut make)?;
    let mut serve = Command::new("openssl");
    serve
        .args(["s_server", "-quiet", "-www", "-accept", &format!("127.0.0.1:{UNKNOWN}"), "-key"])
        .arg(&key)
        .arg("-cert")
        .arg(&cert);
    serve.stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("cannot run openssl")
}

/// Handles each connection of a port in a thread of its own. That one ends badly is what connections here do.
fn serve(port: u16, handle: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("cannot listen on port {port}"))?;
    let handle = Arc::new(handle);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let handle = Arc::clone(&handle);
            thread::spawn(move || handle(stream));
        }
    });
    Ok(())
}

/// Answers whatever may be said.
fn refuse_as_a_web_server(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n")?;
    // Closing with something unread would take the answer back.
    stream.shutdown(Shutdown::Write)?;
    io::copy(&mut stream, &mut io::sink()).map(drop)
}

/// Connects a client with a server, each way `delay` long, until either has ended or `limit` has come from the server.
fn proxy(client: &TcpStream, port: u16, delay: Duration, limit: usize) -> io::Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    for stream in [client, &server] {
        stream.set_nodelay(true)?;
    }
    thread::scope(|scope| {
        scope.spawn(|| one_way(client, &server, delay, usize::MAX));
        one_way(&server, client, delay, limit)
    })
}

/// What is underway on a line: when it arrives, and what it is.
type Chunk = (Instant, Vec<u8>);

/// Passes on what is said until it ends. What is underway is not waited for: a line can be long and wide.
fn one_way(mut from: &TcpStream, to: &TcpStream, delay: Duration, limit: usize) -> io::Result<()> {
    let (sender, line) = mpsc::sync_channel::<Chunk>(1024);
    let left = thread::scope(|scope| {
        scope.spawn(|| arrive(line, to));
        let mut buffer = vec![0; 64 << 10];
        let mut left = limit;
        while left > 0 {
            let wanted = buffer.len().min(left);
            let Ok(count @ 1..) = from.read(&mut buffer[..wanted]) else { break };
            if sender.send((Instant::now() + delay, buffer[..count].to_vec())).is_err() {
                break;
            }
            left -= count;
        }
        // The other end sees the end after all that was said.
        drop(sender);
        left
    });
    if left == 0 {
        from.shutdown(Shutdown::Both)?;
        to.shutdown(Shutdown::Both)?;
    }
    Ok(())
}

fn arrive(line: Receiver<Chunk>, mut to: &TcpStream) {
    for (when, bytes) in line {
        thread::sleep(when.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            // Nobody is there any more: whoever speaks gets to know.
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// A builder that nobody keeps running: launchd listens for it, and the first connection boots it.
#[derive(Debug)]
struct OnDemand {
    dir: PathBuf,
    sleeps: PathBuf,
    now: Mutex<Machine>,
}

#[derive(Debug)]
struct Machine {
    /// When it is ready, or was. None: it is asleep.
    ready: Option<Instant>,
    connections: usize,
    boots: usize,
}

impl OnDemand {
    fn new(dir: &Path, sleeps: PathBuf) -> Result<Arc<Self>> {
        fs::create_dir_all(dir)?;
        File::create(dir.join("log"))?;
        let machine = Machine { ready: None, connections: 0, boots: 0 };
        Ok(Arc::new(Self { dir: dir.to_owned(), sleeps, now: Mutex::new(machine) }))
    }

    /// What launchd and the machine make of a connection: until the machine listens, it is closed without a word.
    fn connection(&self, client: &TcpStream) -> io::Result<()> {
        if !self.wake()? {
            return Ok(());
        }
        let result = proxy(client, ROSETTA.port, Duration::ZERO, usize::MAX);
        self.lock().connections -= 1;
        result
    }

    /// Boots it if it is asleep. True: it is ready, and a connection more is counted.
    fn wake(&self) -> io::Result<bool> {
        let mut now = self.lock();
        let Some(ready) = now.ready else {
            now.ready = Some(Instant::now() + BOOT);
            now.boots += 1;
            fs::write(self.dir.join("awake"), "")?;
            writeln!(File::options().append(true).open(self.dir.join("log"))?, "boot {}", now.boots)?;
            return Ok(false);
        };
        let is_ready = Instant::now() >= ready;
        now.connections += usize::from(is_ready);
        Ok(is_ready)
    }

    /// Falls asleep when it is told to, once nobody is connected.
    fn sleep_if_told(&self) -> io::Result<()> {
        let mut now = self.lock();
        if now.connections > 0 || !self.sleeps.exists() {
            return Ok(());
        }
        fs::remove_file(&self.sleeps)?;
        if now.ready.take().is_some() {
            fs::remove_file(self.dir.join("awake"))?;
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Machine> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
