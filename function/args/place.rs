//! Where a function has its model, which its platform says or mounts.

use std::path::Path;

use clap::Args;

use crate::failure::Failure;

/// A function is told where its model is by its platform.
#[derive(Debug, Args)]
pub(crate) struct PlaceArgs {
    /// Where the model is: s3://…, https://…, hf://… or a folder; default: STORAGE_URI, or /mnt/models if a model is there
    #[arg(env = "MODEL")]
    model: Option<String>,
    /// What KServe calls it
    #[arg(long, hide = true, env = "STORAGE_URI")]
    storage_uri: Option<String>,
}

impl PlaceArgs {
    pub(crate) fn model(&self) -> Result<String, Failure> {
        self.or_mounted(Path::new(MOUNTED))
    }

    /// A variable that is set to nothing is as good as none: so templates have it.
    fn or_mounted(&self, folder: &Path) -> Result<String, Failure> {
        let named = self.model.iter().chain(&self.storage_uri).find(|named| !named.is_empty());
        let mounted = || folder.join("config.json").is_file().then(|| folder.display().to_string());
        named.cloned().or_else(mounted).ok_or(Failure::NoModel)
    }
}

/// Where KServe mounts models, and an image holds its own.
const MOUNTED: &str = "/mnt/models";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_where_it_was_named_first_or_where_it_is_mounted() {
        let folder = tempfile::tempdir().unwrap();
        let found = |model: Option<&str>, storage_uri: Option<&str>| {
            let (model, storage_uri) = (model.map(str::to_owned), storage_uri.map(str::to_owned));
            PlaceArgs { model, storage_uri }.or_mounted(folder.path())
        };
        assert_eq!(found(Some("s3://a"), Some("s3://b")).unwrap(), "s3://a");
        assert_eq!(found(None, Some("s3://b")).unwrap(), "s3://b");
        assert_eq!(found(Some(""), Some("s3://b")).unwrap(), "s3://b");
        assert!(matches!(found(Some(""), Some("")), Err(Failure::NoModel)), "an empty folder");
        std::fs::write(folder.path().join("config.json"), "{}").unwrap();
        assert_eq!(found(None, None).unwrap(), folder.path().to_str().unwrap());
        assert_eq!(found(None, Some("s3://b")).unwrap(), "s3://b");
    }
}
