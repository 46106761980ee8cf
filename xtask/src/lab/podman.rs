//! Podman on a host: it has no daemon, so a host only needs room for its images and a kernel's usual file systems.

use std::fs;

use anyhow::Result;

use super::mounts::Root;
use super::state::State;

/// What differs from Podman's own defaults, and why.
const CONFIG: &str = r#"[containers]
# The default limits are above what a container of the machine's may set.
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]

[engine]
runtime = "runc"
# There is no systemd here.
cgroup_manager = "cgroupfs"
events_logger = "file"
# Podman warns of machines with control groups of the first kind at every command; which kind it is is not for us to say.
env = ["PODMAN_IGNORE_CGROUPSV1_WARNING=1"]

[network]
# Containers reach the host; there is nothing beyond it that rules would have to be made for.
firewall_driver = "none"
"#;

/// Puts into a host's root what its Podman needs; `host` names the host.
pub(crate) fn prepare(root: &Root, state: &State, host: &str) -> Result<()> {
    root.write("/etc/containers/containers.conf", CONFIG, 0o644)?;
    // Image layers are overlays, and those need a real file system below.
    let data = state.live(&format!("{host}/containers"));
    fs::create_dir_all(&data)?;
    root.bind(&data, "/var/lib/containers")?;
    root.control_groups(state)
}
