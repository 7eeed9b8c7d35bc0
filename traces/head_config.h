// Attention heads of a model: how many rows a query brings and how many bytes a KV token costs.
//
// MHA, GQA, MQA and latent attention (MLA) are values of one type. In MLA the value vector is the first `v_dim` entries
// of the stored key ("V inside K"), so a token costs qk_dim elements, not qk_dim + v_dim.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::traces {

enum class Dtype : std::uint8_t { fp32, bf16, fp16, fp8_e4m3 };
constexpr int dtype_bytes(Dtype dtype) {
  switch (dtype) {
    case Dtype::fp32:
      return 4;
    case Dtype::bf16:
    case Dtype::fp16:
      return 2;
    case Dtype::fp8_e4m3:
      return 1;
  }
  return 0;  // no such value
}
std::string_view dtype_name(Dtype dtype);
std::optional<Dtype> dtype_of(std::string_view name);

struct HeadConfig {
  std::int32_t q_heads = 32;
  std::int32_t kv_heads = 8;
  std::int32_t qk_dim = 128;
  std::int32_t v_dim = 128;
  Dtype q_dtype = Dtype::bf16;
  Dtype kv_dtype = Dtype::bf16;
  bool v_in_k = false;
  double scale = 0.0;  ///< factor on q.k; 0 means 1/sqrt(qk_dim)

  std::int32_t group() const { return q_heads / kv_heads; }  ///< query heads that share one KV head
  double softmax_scale() const;
  /// Elements and bytes one KV head stores for one token, K and V together.
  std::int64_t kv_elements_per_token_head() const { return v_in_k ? qk_dim : qk_dim + v_dim; }
  std::int64_t kv_bytes_per_token_head() const { return kv_elements_per_token_head() * dtype_bytes(kv_dtype); }
  /// Bytes of one token over all KV heads of one layer.
  std::int64_t kv_bytes_per_token() const { return kv_bytes_per_token_head() * kv_heads; }

  friend bool operator==(const HeadConfig&, const HeadConfig&) = default;
};

/// Throws Error (bad input) unless the heads divide and all sizes are in range (dims 1..1024, heads 1..4096).
void check_heads(const HeadConfig& heads, std::string_view where);

/// "32/8/128"; "128/1/576:512" is latent attention (V of 512 inside K of 576); "64/4/192+128" has separate K and V
/// dims. Throws Error (usage) on anything else.
HeadConfig parse_heads(std::string_view text);
std::string heads_text(const HeadConfig& heads);

/// Models by name: heads, number of layers with full attention. Source: published model configurations.
struct Model {
  std::string_view name;
  std::int32_t layers;     ///< layers with full attention: those that read the whole KV cache
  std::string_view heads;  ///< in parse_heads form
  std::string_view note;
};
const std::vector<Model>& models();
/// Throws Error (usage) with the nearest name when there is no such model.
const Model& model_of(std::string_view name);

}  // namespace espalier::traces
