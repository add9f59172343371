"""Which model modules of Transformers 4.34 held names that their Transformers 5 selves lack.

First those of modeling modules, then those of tokenizer modules.

A model is told by its package; `package=stem` where `modeling_<stem>` is called otherwise.
"""

from __future__ import annotations

__all__ = ["REEXPORTS", "TOKENIZER_REEXPORTS"]

REEXPORTS = {
    "find_pruneable_heads_and_indices": (
        "albert align altclip audio_spectrogram_transformer beit bert bert_generation "
        "blip=blip_text blip_2 bridgetower bros camembert canine chinese_clip clap convbert ctrl "
        "cvt data2vec=data2vec_text data2vec=data2vec_vision decision_transformer deit dinat "
        "dinov2 distilbert donut=donut_swin dpt electra ernie esm flaubert flava git glpn gpt2 "
        "ibert imagegpt instructblip layoutlm lilt longformer longt5 markuplm "
        "maskformer=maskformer_swin megatron_bert mobilebert mobilevit mpnet mra mt5 "
        "nystromformer openai perceiver pop2piano pvt rembert roberta roberta_prelayernorm "
        "roc_bert roformer segformer splinter swin swin2sr swinv2 switch_transformers t5 tapas "
        "videomae vilt visual_bert vit vit_mae vit_msn vivit xlm xlm_roberta xlm_roberta_xl xmod "
        "yolos yoso"
    ),
    "prune_conv1d_layer": "decision_transformer gpt2 imagegpt openai",
    "prune_linear_layer": (
        "albert align altclip audio_spectrogram_transformer beit bert bert_generation "
        "blip=blip_text blip_2 bridgetower bros camembert canine chinese_clip clap convbert ctrl "
        "cvt data2vec=data2vec_text data2vec=data2vec_vision deit dinat dinov2 distilbert "
        "donut=donut_swin dpt electra ernie esm flaubert flava git glpn ibert instructblip "
        "layoutlm lilt longformer longt5 markuplm maskformer=maskformer_swin megatron_bert "
        "mobilebert mobilevit mpnet mra mt5 nystromformer perceiver pop2piano pvt rembert roberta "
        "roberta_prelayernorm roc_bert roformer segformer splinter swin swin2sr swinv2 "
        "switch_transformers t5 tapas videomae vilt visual_bert vit vit_mae vit_msn vivit xlm "
        "xlm_roberta xlm_roberta_xl xmod yolos yoso"
    ),
    "Conv1D": "ctrl",
    "SequenceSummary": "convbert electra flaubert gpt2 openai roformer xlm xlnet",
    "SQuADHead": "flaubert xlm",
    "PoolerStartLogits": "xlnet",
    "PoolerEndLogits": "xlnet",
    "PoolerAnswerClass": "xlnet",
    "assert_device_map": "gpt2 gptj mt5 t5",
    "get_device_map": "gpt2 gptj mt5 t5",
}
"""Name → the models whose module had it."""

_BERT = "transformers.models.bert.tokenization_bert_legacy"
TOKENIZER_REEXPORTS = {
    "BasicTokenizer whitespace_tokenize": (
        _BERT,
        "bert clip convbert distilbert electra funnel herbert layoutlm layoutlmv2 lxmert "
        "mobilebert mpnet openai roformer splinter squeezebert",
    ),
    "WordpieceTokenizer": (
        _BERT,
        "bert convbert distilbert electra funnel layoutlm layoutlmv2 lxmert mobilebert mpnet "
        "roformer splinter squeezebert",
    ),
    "load_vocab": (
        _BERT,
        "convbert distilbert electra funnel layoutlm layoutlmv2 lxmert mobilebert mpnet roformer "
        "squeezebert",
    ),
    "bytes_to_unicode": (
        "transformers.convert_slow_tokenizer",
        "bart blenderbot clip codegen deberta gpt2 layoutlmv3 led longformer luke markuplm mvp "
        "roberta whisper",
    ),
    "get_pairs": (
        "transformers.models.xlm.tokenization_xlm",
        "bart blenderbot clip codegen deberta gpt2 herbert layoutlmv3 led longformer luke "
        "markuplm mvp openai roberta whisper",
    ),
    "SPIECE_UNDERLINE": (
        "transformers.utils",
        "albert bartpho fnet layoutxlm llama mbart mbart50 nllb pegasus t5 xglm xlm_roberta",
    ),
}
"""Names → where they are now, and the models whose tokenizer module had them."""
