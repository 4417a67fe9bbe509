//! A model folder as Hugging Face lays it out: `config.json`, `tokenizer.json`, and the weights as `model.safetensors`
//! or as shards that `model.safetensors.index.json` lists.
//!
//! Nothing in it is trusted: each file has a limit, shards lie in the folder itself, and the index must say of every
//! tensor what the shards say. What the values mean for a Qwen2 model is the business of `model` and `tokenizer`.

pub(crate) mod json;
pub(crate) mod names;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use crate::data::{Data, read_bounded};
use crate::error::Error;
use crate::gguf::{Tensor, TensorInfo, shown};
use crate::safetensors::Safetensors;
use json::{Document, Json};

/// Hyperparameters.
pub(crate) const CONFIG: &str = "config.json";
/// The vocabulary and how text is cut.
pub(crate) const TOKENIZER: &str = "tokenizer.json";
/// Further settings of the tokenizer, and the template of chats.
pub(crate) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// How the maker would sample, and where texts end.
pub(crate) const GENERATION_CONFIG: &str = "generation_config.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const CHAT_TEMPLATE: &str = "chat_template.jinja";

/// Longest JSON file but the tokenizer's, in bytes. The index of a model of 72 billion weights has 80 kB.
const MAX_JSON: u64 = 16 << 20;
/// Longest `tokenizer.json`, in bytes. Qwen2's has 7 MB.
const MAX_TOKENIZER: u64 = 128 << 20;

/// An opened model folder: its configuration, and tensors whose bytes are known to be there.
#[derive(Debug)]
pub struct Folder {
    files: Files,
    config: Document,
    tensors: Vec<TensorInfo>,
    /// Of each tensor its shard.
    homes: Vec<usize>,
    index: HashMap<String, usize>,
    shards: Vec<Data>,
    weight_bytes: u64,
}

/// Where the files are.
#[derive(Debug)]
enum Files {
    On(PathBuf),
    InMemory(BTreeMap<String, Vec<u8>>),
}

impl Files {
    fn path(&self, file: &str) -> Option<PathBuf> {
        if let Self::On(folder) = self { Some(folder.join(file)) } else { None }
    }

    fn has(&self, file: &str) -> bool {
        match self {
            Self::On(folder) => folder.join(file).exists(),
            Self::InMemory(files) => files.contains_key(file),
        }
    }

    /// The content of `file`, if it is there.
    fn read(&self, file: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        match self {
            _ if !self.has(file) => Ok(None),
            Self::On(folder) => read_bounded(&folder.join(file), limit).map(Some),
            Self::InMemory(files) => Ok(files.get(file).cloned()),
        }
    }

    fn document(&self, file: &str) -> Result<Option<Document>, Error> {
        self.read(file, MAX_JSON)?.map(|bytes| Document::parse(file, &bytes)).transpose()
    }

    /// Opens `file`, of which nothing else will be asked.
    fn weights(&mut self, file: &str) -> Result<Safetensors, Error> {
        match self {
            Self::On(folder) => Safetensors::open(&folder.join(file)),
            Self::InMemory(files) => {
                let bytes = files.remove(file).ok_or_else(|| Error::Folder { file: shown(file), why: "it is missing".to_owned() })?;
                Safetensors::from_vec(bytes).map_err(|source| Error::Safetensors { file: shown(file), source })
            }
        }
    }
}

impl Folder {
    /// Opens the folder at `path` and reads everything but the tokenizer and the tensors' data.
    ///
    /// # Errors
    /// [`Error::NotAModel`] when there is no `config.json`, [`Error::Io`] and [`Error::NotAFile`] when a file cannot
    /// be read, [`Error::Folder`] and [`Error::Safetensors`] when one is malformed.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::of(Files::On(path.to_owned()))
    }

    /// Reads a folder's files, by name, from memory.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_files(files: BTreeMap<String, Vec<u8>>) -> Result<Self, Error> {
        Self::of(Files::InMemory(files))
    }

    fn of(mut files: Files) -> Result<Self, Error> {
        let config = files.document(CONFIG)?.ok_or_else(|| Error::NotAModel(files.path("").unwrap_or_default()))?;
        let mut folder = Self {
            config,
            tensors: vec![],
            homes: vec![],
            index: HashMap::new(),
            shards: vec![],
            weight_bytes: 0,
            files: Files::InMemory(BTreeMap::new()),
        };
        // As transformers do: an index beside one file of everything is a leftover.
        if files.has(WEIGHTS) {
            folder.add(files.weights(WEIGHTS)?);
        } else if let Some(index) = files.document(INDEX)? {
            folder.add_shards(&mut files, &index)?;
        }
        folder.files = files;
        Ok(folder)
    }

    /// Adds the shards that `index` lists.
    fn add_shards(&mut self, files: &mut Files, index: &Document) -> Result<(), Error> {
        let key = "weight_map";
        let map = match index.need(key)? {
            Json::Object(map) => map,
            other => return Err(index.mistyped(key, other, "an object")),
        };
        let mut names = BTreeSet::new();
        for (tensor, shard) in map {
            let name = shard.as_str().ok_or_else(|| index.mistyped(&shown(tensor), shard, "a file's name"))?;
            let plain = name.ends_with(".safetensors") && !name.contains(['/', '\\', '\0']);
            if !plain {
                return Err(index.wrong(format!(
                    "tensor '{}' is said to be in '{}', which is no shard in this folder",
                    shown(tensor),
                    shown(name)
                )));
            }
            names.insert(name);
        }
        for name in names {
            let shard = files.weights(name)?;
            let unlisted = |tensor: &&TensorInfo| map.get(&tensor.name).and_then(Json::as_str) != Some(name);
            if let Some(tensor) = shard.tensors().iter().find(unlisted) {
                return Err(index.wrong(format!("tensor '{}' is in '{}', which the index does not say", shown(&tensor.name), shown(name))));
            }
            self.add(shard);
        }
        match map.iter().find(|(tensor, _)| !self.index.contains_key(*tensor)) {
            Some((tensor, shard)) => {
                let shard = shown(shard.as_str().unwrap_or_default());
                Err(index
                    .wrong(format!("tensor '{}' is said to be in '{shard}', but is not; a file is of another download", shown(tensor))))
            }
            None => Ok(()),
        }
    }

    fn add(&mut self, shard: Safetensors) {
        self.weight_bytes = self.weight_bytes.saturating_add(shard.file_len());
        let (tensors, data) = shard.into_parts();
        for tensor in tensors {
            // The index gives each tensor one shard, and a shard has no name twice.
            self.index.insert(tensor.name.clone(), self.tensors.len());
            self.homes.push(self.shards.len());
            self.tensors.push(tensor);
        }
        self.shards.push(data);
    }

    /// All tensors, shard by shard in the order of their bytes. Names are Hugging Face's.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor called `name` by Hugging Face, if there is one.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        let at = *self.index.get(name)?;
        Some(Tensor { info: &self.tensors[at], data: &self.shards[self.homes[at]] })
    }

    /// Number of files that hold weights.
    pub fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// Length of all files that hold weights, in bytes.
    pub fn weight_bytes(&self) -> u64 {
        self.weight_bytes
    }

    /// What the maker calls the model, or else the folder's name.
    pub fn name(&self) -> String {
        let said = self.config.get("_name_or_path").and_then(Json::as_str).filter(|name| !name.is_empty());
        let folder = || self.files.path("")?.canonicalize().ok()?.file_name().map(|name| name.to_string_lossy().into_owned());
        shown(&said.map(str::to_owned).or_else(folder).unwrap_or_else(|| "unnamed".to_owned()))
    }

    /// `config.json`.
    pub(crate) fn config(&self) -> &Document {
        &self.config
    }

    /// The content of `tokenizer.json`.
    ///
    /// # Errors
    /// It is missing, too long or cannot be read.
    pub(crate) fn tokenizer(&self) -> Result<Vec<u8>, Error> {
        let missing =
            || Error::Folder { file: TOKENIZER.to_owned(), why: "it is missing; text cannot be turned into tokens without it".to_owned() };
        self.files.read(TOKENIZER, MAX_TOKENIZER)?.ok_or_else(missing)
    }

    /// One of the small JSON files, if it is there.
    ///
    /// # Errors
    /// It cannot be read or is malformed.
    pub(crate) fn document(&self, file: &str) -> Result<Option<Document>, Error> {
        self.files.document(file)
    }

    /// The template that chats are written by, if the maker gives one.
    ///
    /// # Errors
    /// A file cannot be read or is malformed.
    pub fn chat_template(&self) -> Result<Option<String>, Error> {
        if let Some(bytes) = self.files.read(CHAT_TEMPLATE, MAX_JSON)? {
            let not_text = |_| Error::Folder { file: CHAT_TEMPLATE.to_owned(), why: "it is not UTF-8".to_owned() };
            return String::from_utf8(bytes).map(Some).map_err(not_text);
        }
        let Some(settings) = self.document(TOKENIZER_CONFIG)? else { return Ok(None) };
        let key = "chat_template";
        match settings.get(key) {
            // Several, of which one is for chats without anything special.
            Some(Json::Array(several)) => {
                let named = |template: &&Json| template.get("name").and_then(Json::as_str) == Some("default");
                Ok(several.iter().find(named).and_then(|template| template.get("template")?.as_str()).map(str::to_owned))
            }
            _ => Ok(settings.find_str(key)?.map(str::to_owned)),
        }
    }
}
