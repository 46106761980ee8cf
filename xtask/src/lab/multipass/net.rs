//! The guests' network: a bridge in the lab's, where hosts are, and a pair of interfaces for each guest.

use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::sh;

const BRIDGE: &str = "lab-multipass";
const BRIDGE_HARDWARE: &str = "52:54:00:ff:00:01";
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 232, 0, 1);
/// How many bits of an address are the network's.
const BITS: u8 = 16;
/// The network that all guests are in.
pub(super) fn subnet() -> String {
    let [a, b, ..] = GATEWAY.octets();
    format!("{a}.{b}.0.0/{BITS}")
}

/// The routing table for connections to port 22 of guests: it holds the guests that have no route.
const NO_ROUTE: &str = "232";

fn ip(words: &[&str]) -> Result<()> {
    sh::quiet(Command::new("/usr/sbin/ip").args(words).env_clear()).map(drop)
}

pub(super) fn make_bridge() -> Result<()> {
    // An address of its own: a bridge without one takes the lowest of its ports', which changes whenever a guest comes or goes, and
    // then the others talk to nobody for a minute.
    ip(&["link", "add", "name", BRIDGE, "address", BRIDGE_HARDWARE, "type", "bridge"])?;
    ip(&["address", "add", &format!("{GATEWAY}/{BITS}"), "dev", BRIDGE])?;
    ip(&["link", "set", BRIDGE, "up"])?;
    let all = format!("{GATEWAY}/{BITS}");
    ip(&["rule", "add", "pref", "100", "to", &all, "ipproto", "tcp", "dport", "22", "lookup", NO_ROUTE])
}

/// Makes every connection from the lab's hosts to port 22 of this address fail with EHOSTUNREACH, or no longer. Established
/// connections stall meanwhile.
pub(super) fn set_unreachable(address: Ipv4Addr, unreachable: bool) -> Result<()> {
    let address = address.to_string();
    let route = ["unreachable", &address, "table", NO_ROUTE];
    if unreachable {
        return ip(&[&["route", "replace"], &route[..]].concat());
    }
    // The route may not be there.
    let _ = ip(&[&["route", "delete"], &route[..]].concat());
    Ok(())
}

/// Drops every packet to and from a guest, or no longer.
pub(super) fn set_silent(number: u16, silent: bool) -> Result<()> {
    // Without this entry the kernel asks for the guest's hardware address in vain, and connections fail at once instead of waiting.
    let (address, hardware) = (address(number).to_string(), hardware(number));
    ip(&["neighbor", "replace", &address, "lladdr", &hardware, "dev", BRIDGE, "nud", "permanent"])?;
    let state = if silent { "disabled" } else { "forwarding" };
    let mut bridge = Command::new("/usr/sbin/bridge");
    bridge.args(["link", "set", "dev", &port(number), "state", state]);
    sh::quiet(bridge.env_clear()).map(drop)
}

/// The host's end of a guest's pair of interfaces.
fn port(number: u16) -> String {
    format!("mp{number}")
}

/// The hardware address of the guest's end.
fn hardware(number: u16) -> String {
    let [high, low] = number.to_be_bytes();
    format!("52:54:00:00:{high:02x}:{low:02x}")
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
    let name = port(number);
    // The kernel takes the last guest's away when it comes to it.
    let _ = ip(&["link", "delete", &name]);
    let hardware = hardware(number);
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

/// Whether an sshd answers at this address. The daemon connects from the network namespace of the guest's first process:
/// `set_unreachable` is about hosts alone.
pub(super) fn answers(pid: i32, address: Ipv4Addr) -> bool {
    // Only a thread's namespace changes, and the thread ends here.
    let banner = thread::spawn(move || banner(pid, address)).join();
    banner.is_ok_and(|banner| banner.is_ok_and(|banner| &banner == b"SSH-2.0-"))
}

fn banner(pid: i32, address: Ipv4Addr) -> Result<[u8; 8]> {
    let guest = File::open(format!("/proc/{pid}/ns/net")).context("the guest is gone")?;
    move_into_link_name_space(guest.as_fd(), Some(LinkNameSpaceType::Network))?;
    let address = SocketAddr::from((address, 22));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut banner = [0; 8];
    stream.read_exact(&mut banner)?;
    Ok(banner)
}
