// Head notation, byte counts and the model table.
#include "traces/head_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "forest_samples.h"

namespace espalier::traces {
namespace {

using testing::HasSubstr;

TEST(Heads, ParseAndPrintRoundTrip) {
  for (const char* text : {"32/8/128", "28/4/128", "128/1/576:512", "64/4/192+128", "1/1/1", "16/1/128"}) {
    EXPECT_EQ(heads_text(parse_heads(text)), text);
  }
  const HeadConfig latent = parse_heads("128/1/576:512");
  EXPECT_TRUE(latent.v_in_k);
  EXPECT_EQ(latent.v_dim, 512);
  EXPECT_EQ(latent.group(), 128);
  const HeadConfig split = parse_heads("64/4/192+128");
  EXPECT_FALSE(split.v_in_k);
  EXPECT_EQ(split.v_dim, 128);
}

TEST(Heads, CountBytesOfAToken) {
  EXPECT_EQ(parse_heads("32/8/128").kv_bytes_per_token(), 4096);
  EXPECT_EQ(parse_heads("128/1/576:512").kv_bytes_per_token(), 1152) << "V lies inside K: 576 elements, not 1088";
  EXPECT_EQ(parse_heads("64/4/192+128").kv_bytes_per_token(), 4 * 320 * 2);
  HeadConfig narrow = parse_heads("32/8/128");
  narrow.kv_dtype = Dtype::fp8_e4m3;
  EXPECT_EQ(narrow.kv_bytes_per_token(), 2048);
}

TEST(Heads, ScaleDefaultsToTheKeyDimension) {
  HeadConfig heads = parse_heads("64/4/192+128");
  EXPECT_DOUBLE_EQ(heads.softmax_scale(), 1.0 / std::sqrt(192.0));
  heads.scale = 0.5;
  EXPECT_DOUBLE_EQ(heads.softmax_scale(), 0.5);
}

TEST(Heads, RejectBadNotation) {
  for (const char* text : {"", "32/8", "32/8/128/1", "32/8/x", "0/8/128", "32/-8/128", "32/8/0",
                           "32/8/128:", "32/8/:128", "32/8/4000", "99999/1/128", "32/8/128:64+32", "32/8/128.5"}) {
    EXPECT_THAT(message_of([&] { parse_heads(text); }, core::ErrorKind::usage), HasSubstr("heads")) << text;
  }
  EXPECT_THAT(message_of([] { parse_heads("32/7/128"); }, core::ErrorKind::usage),
              HasSubstr("expected query heads that KV heads divide, got 32 query heads and 7 KV heads"));
  EXPECT_THAT(message_of([] { parse_heads("32/1/128:512"); }, core::ErrorKind::usage), HasSubstr("fits inside K"));
}

TEST(Heads, CheckNamesTheField) {
  HeadConfig heads;
  heads.v_dim = 2000;
  EXPECT_EQ(message_of([&] { check_heads(heads, "p.json: heads"); }),
            "p.json: heads: v_dim: expected an integer from 1 to 1024, got 2000");
  heads = HeadConfig{};
  heads.scale = -1.0;
  EXPECT_THAT(message_of([&] { check_heads(heads, "x"); }), HasSubstr("softmax scale"));
}

TEST(Dtype, NamesRoundTrip) {
  for (const Dtype dtype : {Dtype::fp32, Dtype::bf16, Dtype::fp16, Dtype::fp8_e4m3}) {
    EXPECT_EQ(dtype_of(dtype_name(dtype)), dtype);
  }
  EXPECT_EQ(dtype_of("fp8"), Dtype::fp8_e4m3);
  EXPECT_EQ(dtype_of("int4"), std::nullopt);
  EXPECT_EQ(dtype_bytes(Dtype::fp32), 4);
}

TEST(Models, AreValidAndUnique) {
  std::set<std::string_view> names;
  for (const Model& model : models()) {
    EXPECT_TRUE(names.insert(model.name).second) << model.name;
    EXPECT_EQ(heads_text(parse_heads(model.heads)), model.heads);
    EXPECT_GT(model.layers, 0);
    EXPECT_FALSE(model.note.empty()) << model.name << " says where its figures are from";
  }
}

TEST(Models, HaveThePublishedBytesAToken) {
  const auto kib = [](std::string_view name) {
    const Model& model = model_of(name);
    return parse_heads(model.heads).kv_bytes_per_token() * model.layers / 1024;
  };
  EXPECT_EQ(kib("llama2-7b"), 512);
  EXPECT_EQ(kib("codellama-13b"), 800);
  EXPECT_EQ(kib("llama3-8b"), 128);
  EXPECT_EQ(kib("llama3-70b"), 320);
  EXPECT_EQ(kib("qwen2.5-7b"), 56);
  EXPECT_EQ(kib("qwen3-235b-a22b"), 188);
  EXPECT_EQ(kib("qwen3.5-35b-a3b"), 20);
  EXPECT_EQ(kib("minimax-m2"), 248);
  EXPECT_EQ(kib("gpt-oss-120b"), 36) << "half of its layers read the whole cache";
  EXPECT_EQ(kib("deepseek-v3"), 68);
  EXPECT_EQ(kib("deepseek-v2-lite"), 30);
}

TEST(Models, SuggestTheNearestName) {
  EXPECT_THAT(message_of([] { model_of("llama3-8B"); }, core::ErrorKind::usage),
              HasSubstr("did you mean 'llama3-8b'?"));
}

}  // namespace
}  // namespace espalier::traces
