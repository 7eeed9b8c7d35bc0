// Costs that published planners count in units of their own: tasks, tokens, blocks, row-token pairs.
//
// One calibration point turns a unit into microseconds, the same for all of them: on a plain 16 x 64 tile, one
// request's group of query heads (at most 16 rows) that reads 1,024 tokens of one KV head takes what those bytes take
// at one SM's fair share of the achievable bandwidth. Ratios between tasks, which are what such a planner compares,
// don't depend on it; sums with launch costs do.
#include <algorithm>

#include "core/units.h"
#include "costmodel/models.h"

namespace espalier::costmodel {
namespace {

constexpr std::int64_t kAnchorTokens = 1024;

/// Tokens a task walks: of KV, or of stored scores.
std::int64_t tokens_of(const TaskShape& shape) {
  return shape.role == KernelRole::softmax ? shape.folded_columns : shape.kv_tokens;
}

/// Query tiles a task fills: 1 unless a planner asks about more rows than a tile holds.
double row_tiles(const TaskShape& shape, const KernelConfig& kernel) {
  const std::int64_t rows = std::int64_t{shape.queries} * shape.heads;
  return static_cast<double>(std::max<std::int64_t>(1, core::ceil_div(rows, kernel.query_tile)));
}

struct Units {
  double (*task)(const TaskShape& shape, const KernelConfig& kernel);
  /// `queries`: rows of the merge in requests (a request's group of heads is one).
  double (*reduction)(double queries, const ReductionShape& shape);
};

/// Every task costs 1, every merge costs 1.
constexpr Units kUnit = {[](const TaskShape&, const KernelConfig&) { return 1.0; },
                         [](double, const ReductionShape&) { return 1.0; }};

/// FastTree (MLSys 2025 and its code): alpha padQ g k + beta padK n g, and gamma for each row that has to be merged. n
/// queries of g heads on tiles of T queries x N tokens, k tokens; padQ = unused queries of the last tile, padK = max(0,
/// N - k); alpha 0.66, beta 0.33, gamma 0.1; unit: one row-token pair. FastTree compares plans of equal live work n g k
/// and leaves it out; with it, the comparisons stay what they were and the cost grows with the tokens (slope >= (1 -
/// beta) n g).
double padding_units(const TaskShape& shape, const KernelConfig& kernel) {
  constexpr double kAlpha = 0.66, kBeta = 0.33;
  const std::int64_t g = std::max(1, shape.heads), n = shape.queries, k = tokens_of(shape);
  const std::int64_t tile = std::max<std::int64_t>(1, kernel.query_tile / g);
  const std::int64_t unused_queries = core::round_up(n, tile) - n;
  const std::int64_t unused_tokens = std::max<std::int64_t>(0, kernel.kv_tile - k);
  const double pairs = static_cast<double>(n * g) * static_cast<double>(k);
  const double units = pairs + kAlpha * static_cast<double>(unused_queries * g) * static_cast<double>(k) +
                       kBeta * static_cast<double>(unused_tokens * n * g);
  return std::max(1.0, units);
}
constexpr Units kPadding = {padding_units, [](double queries, const ReductionShape& shape) {
                              constexpr double kGamma = 0.1;
                              return kGamma * queries * shape.inputs;
                            }};

/// FlashInfer's persistent scheduler: a work item costs 2 x its query tile + its KV tokens; unit: one token. Merges are
/// free to it.
constexpr Units kLinear = {[](const TaskShape& shape, const KernelConfig& kernel) {
                             return row_tiles(shape, kernel) *
                                    (2.0 * kernel.query_tile + static_cast<double>(tokens_of(shape)));
                           },
                           [](double, const ReductionShape&) { return 0.0; }};

/// FlashAttention's split rule rates waves: every CTA of a wave lasts as long as the KV blocks it reads, whatever its
/// rows, and nothing else costs; unit: one KV tile. How full the last wave is follows from packing such tasks into SMs
/// x occupancy slots.
constexpr Units kWave = {[](const TaskShape& shape, const KernelConfig& kernel) {
                           const std::int64_t tiles = core::ceil_div(tokens_of(shape), kernel.kv_tile);
                           return row_tiles(shape, kernel) * static_cast<double>(std::max<std::int64_t>(1, tiles));
                         },
                         [](double, const ReductionShape&) { return 0.0; }};

/// FlashMLA's tile scheduler: blocks of 64 tokens, and 5 for each piece, which stand for its start, its partial rows
/// and their merge; unit: one block.
constexpr Units kPayload = {[](const TaskShape& shape, const KernelConfig& kernel) {
                              constexpr std::int64_t kBlock = 64, kOverhead = 5;
                              return row_tiles(shape, kernel) *
                                     static_cast<double>(core::ceil_div(tokens_of(shape), kBlock) + kOverhead);
                            },
                            [](double, const ReductionShape&) { return 0.0; }};

/// PAT's pack rule: absorbing s queries pays if KV tokens x CTAs added <= 4 s; the 4 is the traffic of a query's
/// partial row, counted here half where it is written and half where it is read back; unit: one KV token read.
constexpr Units kMemoryProfit = {[](const TaskShape& shape, const KernelConfig& kernel) {
                                   constexpr double kWritten = 2;
                                   const double rows = shape.writes_partial ? kWritten * shape.queries : 0.0;
                                   return std::max(
                                       1.0, row_tiles(shape, kernel) * static_cast<double>(tokens_of(shape)) + rows);
                                 },
                                 [](double queries, const ReductionShape& shape) {
                                   constexpr double kReadBack = 2;
                                   return kReadBack * queries * shape.inputs;
                                 }};

struct NamedUnits {
  std::string_view name;
  Units units;
};
constexpr NamedUnits kModels[] = {{"unit", kUnit}, {"padding", kPadding}, {"linear", kLinear},
                                  {"wave", kWave}, {"payload", kPayload}, {"memory_profit", kMemoryProfit}};

class RelativeModel final : public CostModel {
 public:
  RelativeModel(const NamedUnits& model, const DeviceSpec& device, const traces::HeadConfig& heads)
      : name_(model.name), units_(model.units), group_(heads.group()) {
    const KernelConfig kernel;  // 16 rows x 64 tokens
    TaskShape shape;
    shape.heads = std::min(heads.group(), kernel.query_tile);
    shape.kv_tokens = kAnchorTokens;
    shape.writes_partial = true;
    const auto bytes = static_cast<double>(kAnchorTokens * heads.kv_bytes_per_token_head());
    us_per_unit_ = bytes / (device.hbm_achievable_bytes_per_us() / device.sms) / units_.task(shape, kernel);
  }

  std::string_view name() const override { return name_; }
  Cost task(const TaskShape& shape, const KernelConfig& kernel) const override {
    return {us_per_unit_ * units_.task(shape, kernel)};
  }
  Cost reduction(const ReductionShape& shape, const KernelConfig&) const override {
    const double queries = static_cast<double>(shape.rows) * shape.heads / group_;
    return {us_per_unit_ * units_.reduction(queries, shape)};
  }

 private:
  std::string_view name_;
  Units units_;
  double group_;
  double us_per_unit_ = 0;
};

}  // namespace

std::unique_ptr<CostModel> make_relative_model(std::string_view name, const DeviceSpec& device,
                                               const traces::HeadConfig& heads) {
  const auto* model =
      std::find_if(std::begin(kModels), std::end(kModels), [&](const NamedUnits& m) { return m.name == name; });
  return model == std::end(kModels) ? nullptr : std::make_unique<RelativeModel>(*model, device, heads);
}

}  // namespace espalier::costmodel
