//! Memory does not grow with the image, all the way into a runtime.

use super::*;
use crate::stopping::BIG;

each!(a_large_image_is_built_written_and_loaded_in_little_memory: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn a_large_image_is_built_written_and_loaded_in_little_memory(host: Host) {
    // The kernel keeps the peak of a process, in KiB; the last look comes just before its end.
    let script = r#"
        tag=nixoci-memory-$RANDOM$RANDOM
        nixoci build -q -f default.nix -t $tag -o docker-archive:$PWD/out.tar --load >/dev/null & pid=$!
        while now=$(awk '/VmHWM/ { print $2 }' /proc/$pid/status 2>/dev/null) && test -n "$now"; do
            peak=$now; sleep 0.02
        done
        wait $pid; echo code $?; docker rmi $tag >/dev/null
        test $peak -gt 1024 && test $peak -lt $((128 << 10)) && echo little || echo $peak KiB"#;
    host.sh(&format!("{BIG}{script}")).code(0).out("code 0\nlittle\n");
}
