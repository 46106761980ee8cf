//! What crosses the network when a machine builds in its own store: one connection, the image once, and nothing else.

use serde_json::Value;

use super::*;

/// A Mac on which no machine but `bee`, which is elsewhere, builds for Linux.
const FLEET: &[&str] = &["--as", "mac", "--user", "alice", "--with", "fleet"];

/// Counts connections on their way to `bee`, and what comes from there: ssh goes through a port of this script's. `build` builds a
/// little image that contains its argument, `connections` says how many there were since it was last asked, `came` how many bytes
/// they brought, once all of them have ended.
const PROJECT: &str = r#"
cd $XDG_CACHE_HOME; log=$PWD/connections; : > $log; mkfifo bytes; exec 4<> bytes
cat > count.py <<'END'
import socket, sys, threading
def pump(source, sink, counts):
    count = 0
    try:
        while data := source.recv(65536):
            count += len(data)
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        # One end is gone: so is the line. (A look whether it answers ends so; sshd would wait for two minutes.)
        for end in (source, sink):
            try: end.shutdown(socket.SHUT_RDWR)
            except OSError: pass
    if counts:
        with open(sys.argv[2], "w") as ended: ended.write(f"{count}\n")
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
while True:
    client, _ = server.accept()
    with open(sys.argv[1], "a") as log: log.write("x")
    machine = socket.create_connection(("127.0.0.1", 32202))
    for way in ((client, machine, False), (machine, client, True)): threading.Thread(target=pump, args=way, daemon=True).start()
END
exec 3< <(exec python3 count.py $log $PWD/bytes); counter=$!; trap 'kill $counter; rm -rf $XDG_CACHE_HOME' EXIT; read -r port <&3 || exit 99
cat > nixoci.toml <<END
[backend.remote]
builders = [{ host = "builder@bee:$port", systems = ["x86_64-linux"] }]
END
cat > default.nix <<'END'
{ system, text }:
let pkgs = import <nixpkgs> { inherit system; }; in
pkgs.dockerTools.buildLayeredImage {
  name = "transfer"; tag = "1"; contents = [ pkgs.pkgsStatic.hello (pkgs.writeTextDir "etc/text" text) ]; config.Cmd = [ "hello" ];
}
END
build() { nixoci build -q --backend remote --platform linux/amd64 -f default.nix --argstr text "$1" --no-link --format json | tr -d '\n'; echo; }
connections() { wc -c < $log; : > $log; }
came() { local sum=0 bytes n; for n in $(seq $(connections)); do read -r bytes <&4; sum=$((sum + bytes)); done; echo $sum; }
text=$(date +%s%N)
"#;

/// A report and the number of connections that it took, one after the other.
fn builds(host: Host, script: &str) -> (Run, Vec<(Value, u64)>) {
    let run = host.sh(&format!("{PROJECT}\n{script}")).code(0);
    let lines: Vec<&str> = run.out.lines().collect();
    let pair = |pair: &[&str]| {
        let report = serde_json::from_str(pair[0]).unwrap();
        (report, pair[1].trim().parse().unwrap())
    };
    let builds = lines.chunks_exact(2).map(pair).collect();
    (run, builds)
}

fn bytes(report: &Value, what: &str) -> u64 {
    report["transfer"][what].as_u64().unwrap()
}

each!(a_build_takes_one_connection_and_an_unchanged_image_none: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_build_takes_one_connection_and_an_unchanged_image_none(host: Host) {
    let script = "build $text; connections; build $text; connections; rm -r $XDG_CACHE_HOME/nixoci/built; build $text; connections
         rm -r $XDG_CACHE_HOME/nixoci/images; build $text; connections; build $text-changed; connections";
    let (run, builds) = builds(host.with(FLEET), script);
    let [first, unchanged, asked, lost, changed] = builds.as_slice() else { panic!("{run:#?}") };
    let size = bytes(&first.0, "fetchedBytes");
    assert!(size > 0, "{run:#?}");
    // Whether the machine answers is asked before the first build, without an ssh.
    assert_eq!((bytes(&unchanged.0, "fetchedBytes"), unchanged.1), (0, 0), "{run:#?}");
    assert_eq!(bytes(&unchanged.0, "reusedBytes"), size, "{run:#?}");
    assert_eq!((bytes(&asked.0, "fetchedBytes"), asked.1), (0, 1), "{run:#?}");
    assert_eq!((bytes(&lost.0, "fetchedBytes"), lost.1), (size, 1), "{run:#?}");
    assert_eq!(changed.1, 1, "{run:#?}");
    assert!(bytes(&changed.0, "fetchedBytes") > 0, "{run:#?}");
    assert_eq!(first.1, 2, "a look whether it answers, and the connection: {run:#?}");
}

each!(only_the_image_leaves_the_machine_and_nothing_of_it_enters_the_host_s_store: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn only_the_image_leaves_the_machine_and_nothing_of_it_enters_the_host_s_store(host: Host) {
    // The first build brings the look whether the machine answers, and what the image is made of.
    let script = "build $text-before > /dev/null; came > /dev/null; ls /nix/store > before
         report=$(build $text); echo \"$report\"; came
         drv=$(grep -o '/nix/store/[^\"]*\\.drv' <<< \"$report\" | head -1)
         image=$(nix-store -q --outputs $drv); ssh bee nix-store -q --size $image
         for drv in $(nix-store -qR $drv | grep '\\.drv$'); do
           grep -qxF ${drv##*/} before || nix-store -q --outputs $drv
         done > made
         wc -l < made; while read -r path; do [ ! -e $path ] || echo \"$path is here\"; done < made";
    let run = host.with(FLEET).sh(&format!("{PROJECT}\n{script}")).code(0);
    let lines: Vec<&str> = run.out.lines().collect();
    let [report, came, size, made] = lines[..] else { panic!("{run:#?}") };
    let report: Value = serde_json::from_str(report).unwrap();
    let number = |text: &str| text.trim().parse::<u64>().unwrap();
    assert!(number(made) >= 3, "{run:#?}");
    assert_eq!(bytes(&report, "fetchedBytes"), number(size), "{run:#?}");
    assert!(number(came) <= number(size) + (64 << 10), "{run:#?}");
}
