//! Availability zones of 1.17, and every format of `info` and `list`.

use super::*;

fn exact(vm: &Vm, words: &[&str]) -> (i32, String, String) {
    let said = vm.run(words);
    (said.code, said.out, said.err)
}

/// The line of a table or of CSV that begins with an instance's name.
fn line(vm: &Vm, text: &str) -> String {
    text.lines().find(|line| line.starts_with(&vm.name)).unwrap_or_default().to_owned()
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_instance_is_unavailable_while_its_zone_is_off() {
    let vm = Vm::named(NEW);
    // Nothing else in the lab is in this zone.
    let launched = vm.run(&["launch", "24.04", "--name", &vm.name, "--zone", "zone2"]);
    assert!(launched.code == 0 && launched.out.ends_with(&format!("Launched: {} in zone2\n", vm.name)));
    let unsure = vm.run(&["disable-zones", "zone2"]);
    let force = "Caught an unhandled exception: Unable to query client for confirmation. Use '--force' to forcefully make unavailable \
                 all instances in the specified zones.\n";
    assert!(unsure.code == 1 && unsure.err.ends_with(force), "{unsure:?}");
    let off = vm.run(&["disable-zones", "--force", "zone2"]);
    assert!(off.code == 0 && off.out.ends_with("Zone disabled: zone2\n"), "{off:?}");
    assert_eq!(vm.state(), "Unavailable");
    assert!(vm.run(&["zones"]).out.contains("zone2  Unavailable   10.232.0.0/16\n"));
    assert_eq!(vm.info(&[])["zone"], serde_json::json!({"name": "zone2", "available": false}));
    assert!(vm.run(&["info", &vm.name]).out.contains("Zone:           zone2(n/a)\n"));
    assert!(line(&vm, &vm.run(&["list"]).out).ends_with(" zone2(n/a)"));
    assert!(line(&vm, &vm.run(&["list", "--format", "csv"]).out).ends_with(",\"\",zone2,false"));
    let cannot = format!(
        "start failed: The following errors occurred:\nCannot start the instance '{}' while unavailable.\n",
        vm.name
    );
    let (code, _, err) = exact(&vm, &["start", &vm.name]);
    assert_eq!((code, &err), (2, &cannot));
    let exec = vm.exec(&["true"]);
    assert_eq!((exec.code, &exec.err), (2, &cannot), "exec starts what does not run");
    let mount = vm.run(&["mount", "/tmp", &vm.name]);
    let not_available = format!("instance '{}' is not available\n", vm.name);
    assert!(mount.code == 2 && mount.err.ends_with(&not_available), "{mount:?}");
    assert_eq!((vm.run(&["stop", &vm.name]).code, vm.state()), (0, "Unavailable".to_owned()));
    let other = vm.run(&["launch", "--zone", "zone2"]);
    assert!(other.code == 2 && other.err.ends_with("Unavailable zone name supplied: zone2\n"), "{other:?}");
    let on = vm.run(&["enable-zones", "zone2"]);
    assert!(on.code == 0 && on.out.ends_with("Zone enabled: zone2\n"), "{on:?}");
    assert_eq!(vm.state(), "Running", "it ran before");
    assert_eq!(vm.exec(&["true"]).code, 0);
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_zone_may_be_off_for_one_instance() {
    let vm = Vm::launch(NEW);
    vm.fault("zone-unavailable", "on");
    assert_eq!(vm.state(), "Unavailable");
    assert_eq!(vm.info(&[])["zone"], serde_json::json!({"name": "zone1", "available": false}));
    vm.fault("zone-unavailable", "off");
    assert_eq!(vm.state(), "Running");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_zone_that_is_none_is_refused() {
    let vm = Vm::named(NEW);
    let unknown = (2, String::new(), "No AZ with name: zone9\n".to_owned());
    assert_eq!(exact(&vm, &["enable-zones", "zone9"]), unknown);
    assert_eq!(exact(&vm, &["launch", "--zone", "zone9"]), unknown);
    let more = "No AZs with names: a, b\n".to_owned();
    assert_eq!(exact(&vm, &["disable-zones", "a", "zone1", "b"]), (2, String::new(), more));
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_available_zone_is_a_name_alone() {
    let vm = Vm::launch(NEW);
    assert!(vm.run(&["info", &vm.name]).out.contains("\nZone:           zone1\n"));
    assert!(line(&vm, &vm.run(&["list"]).out).ends_with(" zone1"));
    assert_eq!(vm.info(&[])["devices"], Value::Null);
}

each!(info_and_list_have_every_format: old(OLD, false), new(NEW, true));
fn info_and_list_have_every_format(with: &'static str, zones: bool) {
    let vm = Vm::launch(with);
    let name = &vm.name;
    let address = vm.login().replace("ubuntu@", "");
    let zone = if zones { "    zone:\n      name: zone1\n      available: true\n" } else { "" };
    let yaml = vm.run(&["list", "--format", "yaml"]).out;
    let entry = format!(
        "{name}:\n  - state: Running\n{zone}    ipv4:\n      - {address}\n    release: Ubuntu 24.04 LTS\n"
    );
    assert!(yaml.contains(&entry), "{yaml}");
    let csv = vm.run(&["list", "--format", "csv"]).out;
    let (header, entry) = if zones {
        (
            "Name,State,IPv4,Release,AllIPv4,Zone,Zone available\n",
            format!("{name},Running,{address},Ubuntu 24.04 LTS,\"{address}\",zone1,true"),
        )
    } else {
        (
            "Name,State,IPv4,IPv6,Release,AllIPv4\n",
            format!("{name},Running,{address},,Ubuntu 24.04 LTS,\"{address}\""),
        )
    };
    assert!(csv.starts_with(header), "{csv}");
    assert_eq!(line(&vm, &csv), entry);
    let yaml = vm.run(&["info", "--format", "yaml", name]).out;
    let begin =
        format!("errors:\n  - ~\n{name}:\n  - state: Running\n{zone}    snapshot_count: 0\n    image_hash: ");
    assert!(
        yaml.starts_with(&begin) && yaml.contains("\n    disks:\n      - sda1:\n          used: "),
        "{yaml}"
    );
    assert!(yaml.ends_with(&format!("\n    ipv4:\n      - {address}\n    mounts: ~\n")), "{yaml}");
    assert_eq!(vm.run(&["stop", name]).code, 0);
    let csv = vm.run(&["info", "--format", "csv", name]).out;
    let columns = if zones { "Zone,Zone available,Ipv4" } else { "Ipv4,Ipv6" };
    let header = format!(
        "Name,State,{columns},Release,Image hash,Image release,Load,Disk usage,Disk total,Memory usage,Memory \
         total,Mounts,AllIPv4,CPU(s),Snapshots\n"
    );
    let begin = if zones { format!("{name},Stopped,zone1,true,,,") } else { format!("{name},Stopped,,,,") };
    assert!(csv.starts_with(&format!("{header}{begin}")), "{csv}");
    assert!(csv.ends_with(",24.04 LTS,,,,,,,,,0\n"), "{csv}");
    let yaml = vm.run(&["info", "--format", "yaml", name]).out;
    let off = "    disks:\n      - sda1:\n          used: ~\n          total: ~\n    memory:\n      usage: ~\n      total: ~\n    \
               ipv4:\n      []\n    mounts: ~\n";
    assert!(yaml.ends_with(off), "{yaml}");
}
