//! Memory does not grow with the image, all the way into a runtime.

use super::*;
use crate::harness::image_apart;

each!(a_large_image_is_built_written_and_loaded_in_little_memory: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_large_image_is_built_written_and_loaded_in_little_memory(host: Host) {
    // The kernel says at the end how much memory a process needed at most, in KiB: nixoci, and each program that it runs.
    let script = r#"
        perl -e 'my $pid = fork // die; $pid or exec @ARGV or die; my ($status, $usage) = (pack("i", 0), "\0" x 144);
            syscall(61, $pid, $status, 0, $usage) == $pid or die; # wait4(2)
            printf "code %d\npeak %d\n", unpack("i", $status) >> 8, (unpack "q*", $usage)[4]' \
            nixoci build -q -f image.nix -t $tag -o docker-archive:$PWD/out.tar --load
        docker rmi $tag >/dev/null"#;
    let run = host.sh(&format!("{}{script}", image_apart(400_000_000))).code(0).out("code 0\n");
    let peak =
        run.out.lines().find_map(|line| line.strip_prefix("peak ")).and_then(|text| text.parse::<u64>().ok());
    assert!(peak.is_some_and(|peak| (1 << 10..128 << 10).contains(&peak)), "{run:#?}");
}
