//! The guests' network: a bridge in the lab's, where hosts are, and a pair of interfaces for each guest.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::sh;

const BRIDGE: &str = "lab-multipass";
const BRIDGE_HARDWARE: &str = "52:54:00:ff:00:01";
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 232, 0, 1);
/// How many bits of an address are the network's.
const BITS: u8 = 16;

fn ip(words: &[&str]) -> Result<()> {
    sh::quiet(Command::new("/usr/sbin/ip").args(words).env_clear()).map(drop)
}

pub(super) fn make_bridge() -> Result<()> {
    // An address of its own: a bridge without one takes the lowest of its ports', which changes whenever a guest comes or goes, and
    // then the others talk to nobody for a minute.
    ip(&["link", "add", "name", BRIDGE, "address", BRIDGE_HARDWARE, "type", "bridge"])?;
    ip(&["address", "add", &format!("{GATEWAY}/{BITS}"), "dev", BRIDGE])?;
    ip(&["link", "set", BRIDGE, "up"])
}

/// The address of the guest with this number.
pub(super) fn address(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    let [a, b, ..] = GATEWAY.octets();
    Ipv4Addr::new(a, b, high, low)
}

/// Gives the network namespace of a process an interface on the bridge. An instance keeps its hardware address, as in life:
/// with another one nobody would reach it for most of a minute after a restart.
pub(super) fn connect(number: u16, pid: &str) -> Result<()> {
    let name = format!("mp{number}");
    // The kernel takes the last guest's away when it comes to it.
    let _ = ip(&["link", "delete", &name]);
    let [high, low] = number.to_be_bytes();
    let hardware = format!("52:54:00:00:{high:02x}:{low:02x}");
    ip(&["link", "add", &name, "type", "veth", "peer", "name", "eth0", "address", &hardware, "netns", pid])?;
    ip(&["link", "set", &name, "master", BRIDGE, "up"])
}

/// The guest's side.
pub(super) fn configure(address: Ipv4Addr, cut_off: bool) -> Result<()> {
    ip(&["link", "set", "lo", "up"])?;
    if cut_off {
        return Ok(());
    }
    ip(&["address", "add", &format!("{address}/{BITS}"), "dev", "eth0"])?;
    ip(&["link", "set", "eth0", "up"])?;
    ip(&["route", "add", "default", "via", &GATEWAY.to_string()])
}

/// Whether something listens on ssh's port in the network namespace of a process. To connect before would take longer: who
/// asks for an address that nobody has yet asks again after a second.
pub(super) fn listening(pid: i32) -> bool {
    const SSH: &str = ":0016 00000000:0000 0A ";
    std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).is_ok_and(|table| table.contains(SSH))
}

/// Whether an sshd answers at this address.
pub(super) fn answers(address: Ipv4Addr) -> bool {
    let address = SocketAddr::from((address, 22));
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else { return false };
    let mut banner = [0; 8];
    stream.set_read_timeout(Some(Duration::from_secs(2))).is_ok()
        && stream.read_exact(&mut banner).is_ok()
        && &banner == b"SSH-2.0-"
}
