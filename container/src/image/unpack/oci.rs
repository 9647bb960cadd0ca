//! OCI image layouts (`oci-layout`, `index.json`, `blobs/sha256/…`) and the archives that `docker save` wrote before it used them. Of both we need a
//! few fields, so they are read here rather than by a crate that knows the whole specification.

use super::blobs::{self, Blobs};
use super::config::{self, Wanted};
use super::error::UnpackError;
use super::meter::{Meter, within};
use super::name::Name;
use super::tree::Tree;
use super::{decompress, layer};
use serde::Deserialize;
use shoal_container::image::{Caps, Format, ImageConfig};

/// Indexes within each other: one for the layout and one for an image of several platforms.
const INDEXES_MAX: usize = 3;
/// As the specification names this machine.
const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    platform: Option<Platform>,
}

#[derive(Clone, Deserialize)]
struct Platform {
    os: String,
    architecture: String,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// `manifest.json` of `docker save`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    layers: Vec<String>,
}

/// The archive's format: an image, or else a root file system.
pub fn format_of(has: impl Fn(&str) -> bool) -> Format {
    match (has("oci-layout") && has("index.json"), has("manifest.json")) {
        (true, _) => Format::Oci,
        (false, true) => Format::Docker,
        (false, false) => Format::Tar,
    }
}

/// What came out.
pub struct Image {
    /// Of the manifest, or of the configuration.
    pub digest: String,
    /// How it wants to be run.
    pub config: ImageConfig,
    /// How many layers it had.
    pub layers: u64,
}

/// Unpacks the one image of an OCI layout.
pub fn unpack(blobs: &Blobs, tree: &Tree, meter: &mut Meter) -> Result<Image, UnpackError> {
    let caps = meter.caps;
    let (name, digest) = manifest(blobs, &caps)?;
    let (manifest, found) = blobs.document::<Manifest>(&name)?;
    blobs::must_be("the manifest", &digest, &found)?;
    let (config, config_digest) = blobs::place(&manifest.config.digest, &caps)?;
    let (wanted, found) = blobs.document::<Wanted>(&config)?;
    blobs::must_be("the configuration", &config_digest, &found)?;
    within("layers", caps.layers_max, manifest.layers.len() as u64)?;
    for descriptor in &manifest.layers {
        let (name, digest) = blobs::place(&descriptor.digest, &caps)?;
        blobs.check(&name, &digest)?;
        let (_, reader) = decompress::open(blobs.open(&name)?, caps.stream_bytes_max())?;
        layer::apply(reader, tree, meter)?;
    }
    Ok(Image { digest, config: config::resolve(wanted, tree)?, layers: manifest.layers.len() as u64 })
}

/// Finds the manifest for this machine: through an index of platforms, if the layout has one.
fn manifest(blobs: &Blobs, caps: &Caps) -> Result<(Name, String), UnpackError> {
    let mut name = Name::parse(b"index.json", caps)?;
    let mut expected: Option<String> = None;
    for _ in 0..INDEXES_MAX {
        let (index, found) = blobs.document::<Index>(&name)?;
        if let Some(expected) = &expected {
            blobs::must_be("an index", expected, &found)?;
        }
        let chosen = choose(index.manifests)?;
        let (place, digest) = blobs::place(&chosen.digest, caps)?;
        let is_index =
            chosen.media_type.contains("image.index") || chosen.media_type.contains("manifest.list");
        if !is_index {
            return Ok((place, digest));
        }
        (name, expected) = (place, Some(digest));
    }
    Err(UnpackError::Nonsense(format!("its indexes lead to each other more than {INDEXES_MAX} times")))
}

fn choose(manifests: Vec<Descriptor>) -> Result<Descriptor, UnpackError> {
    let fits = |platform: &Option<Platform>| {
        platform.as_ref().is_none_or(|p| p.os == "linux" && p.architecture == ARCHITECTURE)
    };
    let count = manifests.len();
    let mut fitting = manifests.into_iter().filter(|manifest| fits(&manifest.platform));
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => {
            Err(UnpackError::Nonsense(format!("none of its {count} manifests is for linux/{ARCHITECTURE}")))
        }
        (Some(_), Some(_)) => Err(UnpackError::Nonsense(
            "it holds several images for this machine; export one of them".to_owned(),
        )),
    }
}

/// Unpacks the one image of an archive of `docker save`. Its layers are checked against what the configuration says of them unpacked.
pub fn unpack_saved(blobs: &Blobs, tree: &Tree, meter: &mut Meter) -> Result<Image, UnpackError> {
    let caps = meter.caps;
    let (mut saved, _) = blobs.document::<Vec<Saved>>(&Name::parse(b"manifest.json", &caps)?)?;
    let (Some(image), true) = (saved.pop(), saved.is_empty()) else {
        return Err(UnpackError::Nonsense("it holds several images; save one of them".to_owned()));
    };
    let (wanted, digest) = blobs.document::<Wanted>(&Name::parse(image.config.as_bytes(), &caps)?)?;
    let ids = wanted.rootfs.diff_ids.clone();
    within("layers", caps.layers_max, image.layers.len() as u64)?;
    if ids.len() != image.layers.len() {
        return Err(UnpackError::Nonsense(format!(
            "it has {} layers and its configuration names {}",
            image.layers.len(),
            ids.len()
        )));
    }
    for (layer, id) in image.layers.iter().zip(ids) {
        let name = Name::parse(layer.as_bytes(), &caps)?;
        let (_, expected) = blobs::place(&id, &caps)?;
        let (_, reader) = decompress::open(blobs.open(&name)?, caps.stream_bytes_max())?;
        blobs::must_be(layer, &expected, &blobs::sha256(reader)?)?;
        let (_, reader) = decompress::open(blobs.open(&name)?, caps.stream_bytes_max())?;
        layer::apply(reader, tree, meter)?;
    }
    let layers = image.layers.len() as u64;
    Ok(Image { digest, config: config::resolve(wanted, tree)?, layers })
}
