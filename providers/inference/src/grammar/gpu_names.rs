//! Accelerators that have a name, by maker.

use super::gpu::Vendor;

const NVIDIA: &[&str] = &[
    "A10",
    "A16",
    "A40",
    "A100",
    "A10G",
    "A4000",
    "A4500",
    "A5000",
    "A6000",
    "B200",
    "B300",
    "GB200",
    "GB300",
    "GH200",
    "H100",
    "H100NVL",
    "H200",
    "H200NVL",
    "L4",
    "L40",
    "L40S",
    "P100",
    "RTX2000Ada",
    "RTX2060",
    "RTX2060SUPER",
    "RTX2070",
    "RTX2070SUPER",
    "RTX2080",
    "RTX2080SUPER",
    "RTX2080Ti",
    "RTX3050",
    "RTX3060",
    "RTX3060Ti",
    "RTX3070",
    "RTX3070Ti",
    "RTX3080",
    "RTX3080Ti",
    "RTX3090",
    "RTX3090Ti",
    "RTX4000Ada",
    "RTX4060",
    "RTX4060Ti",
    "RTX4070",
    "RTX4070SUPER",
    "RTX4070Ti",
    "RTX4070TiSUPER",
    "RTX4080",
    "RTX4080SUPER",
    "RTX4090",
    "RTX5060",
    "RTX5060Ti",
    "RTX5070",
    "RTX5070Ti",
    "RTX5080",
    "RTX5090",
    "RTX6000",
    "RTX6000Ada",
    "RTXPRO4500",
    "RTXPRO6000",
    "T4",
    "V100",
];
const AMD: &[&str] = &[
    "MI100", "MI210", "MI250", "MI250X", "MI300A", "MI300X", "MI308X", "MI325X", "MI350X", "MI355X",
];
const INTEL: &[&str] = &["Gaudi", "Gaudi2", "Gaudi3"];
const TENSTORRENT: &[&str] = &[
    "n150",
    "n300",
    "p100a",
    "p150",
    "p300",
    "tt-galaxy-bh",
    "tt-galaxy-wh",
];
/// Generations of TPUs; a name goes on with the number of chips: `v5litepod-4`.
const TPU: &[&str] = &["v2", "v3", "v4", "v5litepod", "v5p", "v6e"];

/// Returns the maker of an accelerator, if its name is known. Case does not matter.
pub fn vendor_of(name: &str) -> Option<Vendor> {
    let is_in = |names: &[&str]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
    let generation = name.split_once('-').map_or(name, |(generation, _)| generation);
    if is_in(NVIDIA) {
        Some(Vendor::Nvidia)
    } else if is_in(AMD) {
        Some(Vendor::Amd)
    } else if is_in(INTEL) {
        Some(Vendor::Intel)
    } else if is_in(TENSTORRENT) {
        Some(Vendor::Tenstorrent)
    } else if TPU.iter().any(|known| known.eq_ignore_ascii_case(generation)) {
        Some(Vendor::Google)
    } else {
        None
    }
}
