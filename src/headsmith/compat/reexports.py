"""Which model modules of Transformers 4.34 held names that their Transformers 5 selves lack.

A model is told by its package; `package=stem` where `modeling_<stem>` is called otherwise.
"""

from __future__ import annotations

__all__ = ["REEXPORTS"]

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
