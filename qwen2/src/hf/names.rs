//! What Hugging Face calls the tensors of a Qwen2 model: the one table beside GGUF's names, which the engine uses.
//! Both store a matrix alike, outputs × inputs, with the halves of a head side by side: nothing is permuted.

/// Tensors that there is one of: GGUF's name, Hugging Face's.
const WHOLE: [(&str, &str); 3] = [("token_embd", "model.embed_tokens"), ("output_norm", "model.norm"), ("output", "lm_head")];

/// Tensors of a layer: GGUF's name after `blk.N.`, Hugging Face's after `model.layers.N.`.
const OF_A_LAYER: [(&str, &str); 9] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// Hugging Face's name of the tensor that GGUF calls `name`; `None` if there is no such tensor in a folder.
pub(crate) fn of_gguf(name: &str) -> Option<String> {
    // `.weight` or `.bias`, which are called so by both.
    let (stem, kind) = name.rsplit_once('.')?;
    let find = |table: &[(&str, &'static str)], stem| table.iter().find(|(ours, _)| *ours == stem).map(|(_, theirs)| *theirs);
    match stem.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
        Some((layer, part)) => Some(format!("model.layers.{layer}.{}.{kind}", find(&OF_A_LAYER, part)?)),
        None => Some(format!("{}.{kind}", find(&WHOLE, stem)?)),
    }
}

/// GGUF's name of the tensor that Hugging Face calls `name`; `None` if it has no place in a Qwen2 model.
pub(crate) fn of_folder(name: &str) -> Option<String> {
    let (stem, kind) = name.rsplit_once('.')?;
    let find = |table: &[(&'static str, &str)], stem| table.iter().find(|(_, theirs)| *theirs == stem).map(|(ours, _)| *ours);
    match stem.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.')) {
        Some((layer, part)) => Some(format!("blk.{layer}.{}.{kind}", find(&OF_A_LAYER, part)?)),
        None => Some(format!("{}.{kind}", find(&WHOLE, stem)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::{of_folder, of_gguf};

    #[test]
    fn names_are_translated() {
        for (ours, theirs) in [
            ("token_embd.weight", "model.embed_tokens.weight"),
            ("output.weight", "lm_head.weight"),
            ("blk.11.attn_k.bias", "model.layers.11.self_attn.k_proj.bias"),
            ("blk.0.ffn_norm.weight", "model.layers.0.post_attention_layernorm.weight"),
        ] {
            assert_eq!(of_gguf(ours).as_deref(), Some(theirs));
            assert_eq!(of_folder(theirs).as_deref(), Some(ours));
        }
        // Folders have the three apart.
        assert_eq!(of_gguf("blk.0.attn_qkv.weight"), None);
    }
}
