//! Arbitrary and changed bytes: never a panic, and never a different image without an error.

use crate::build::*;
use nixoci_image::{ImageSummary, codes};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        prop_assert!(read(&bytes).is_err());
        prop_assert!(read(&gzip(&bytes)).is_err());
    }

    #[test]
    fn a_changed_archive(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut tar = hello().tar();
        let good = read(&tar).unwrap();
        for (at, value) in &changes {
            let length = tar.len();
            tar[at.index(length)] = *value;
        }
        if let Ok((summary, hybrid)) = convert(&tar) {
            // A configuration that was changed is told, and says what it likes of the layers' history.
            let told = summary.warnings.iter().any(|warning| warning.code == codes::CONFIG_NAME.id);
            let content = |summary: &ImageSummary| {
                summary.layers.iter().map(|layer| (layer.diff_id, layer.size)).collect::<Vec<_>>()
            };
            prop_assert_eq!(content(&summary), content(&good));
            prop_assert!(told || summary.layers == good.layers);
            prop_assert_eq!(read(&hybrid).unwrap().image_id, summary.image_id);
        }
    }

    #[test]
    fn a_changed_gzip(at: prop::sample::Index, value: u8) {
        let mut bytes = gzip(&hello().tar());
        let at = at.index(bytes.len());
        bytes[at] = value;
        if let Ok(summary) = read(&bytes) {
            prop_assert_eq!(summary, read(&hello().tar()).unwrap());
        }
    }

    #[test]
    fn a_changed_layer_with_right_digests(at: prop::sample::Index, value: u8) {
        let mut image = hello();
        // Only headers: data is of no interest.
        let length = image.layers[0].len().min(8192);
        image.layers[0][at.index(length)] = value;
        let _ = read(&image.tar());
    }

    #[test]
    fn a_shortened_archive(length: prop::sample::Index) {
        let tar = hello().tar();
        let end = length.index(tar.len() - 10240);
        prop_assert!(read(&tar[..end]).is_err());
        let zipped = gzip(&tar);
        prop_assert!(read(&zipped[..length.index(zipped.len())]).is_err());
    }
}
