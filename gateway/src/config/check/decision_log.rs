//! What must hold of `policy.decision_log`.

use url::Url;

use super::{Check, to_usize};
use crate::config::fault::{Doubt, Wrong};
use crate::config::settings::{DecisionLogSettings, DecisionSink, LogFull};
use crate::config::shape::Section;

/// Folder of the decisions in the data folder.
const FOLDER: &str = "decisions";

impl Check<'_> {
    pub(super) fn decision_log(&mut self, root: &Section<'_>) -> DecisionLogSettings {
        let section = root.section("policy").section("decision_log");
        let data = self.path(root, "data").unwrap_or_default();
        let masks = self.existing(&section, "masks");
        if let Some(folder) = masks.iter().find(|path| path.exists() && !path.is_dir()) {
            self.fault(section.at("masks"), Wrong::NotFolder(folder.clone()));
        }
        self.watched.extend(masks.iter().cloned());
        DecisionLogSettings {
            sink: self.decision_sink(&section),
            folder: self.path(&section, "folder").unwrap_or_else(|| data.join(FOLDER)),
            file_bytes_max: section.int("file_bytes_max").unwrap_or_default(),
            full: match section.text("full") {
                Some("drop_new") => LogFull::DropNew,
                Some(_) | None => LogFull::Refuse,
            },
            masks,
            labels: section.text_map("labels"),
        }
    }

    fn decision_sink(&mut self, section: &Section<'_>) -> DecisionSink {
        let token = self.secret(section, "token");
        self.fits_header(section.at("token"), token.as_ref());
        let kept = section.int("files_kept").map_or(1, to_usize);
        match section.text("sink") {
            Some("file") => DecisionSink::File { kept },
            Some("http") => {
                let Some(url) = self.decision_url(section) else { return DecisionSink::Off };
                let spool_bytes_max = section.int("spool_bytes_max").unwrap_or_default();
                let batch_bytes_max = section.int("batch_bytes_max").map_or(1, to_usize);
                DecisionSink::Http { url, token, spool_bytes_max, batch_bytes_max }
            }
            Some(_) | None => DecisionSink::Off,
        }
    }

    fn decision_url(&mut self, section: &Section<'_>) -> Option<Url> {
        let text = section.text("url").unwrap_or_default();
        let Some(url) = Url::parse(text).ok().filter(|_| super::identity::is_web(text)) else {
            self.fault(section.at("url"), Wrong::DecisionUrl);
            return None;
        };
        if url.scheme() == "http" && !super::identity::is_loopback(&url) {
            self.doubt(section.at("url"), Doubt::PlainDecisions(text.to_owned()));
        }
        Some(url)
    }
}
