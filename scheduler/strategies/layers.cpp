// Layers of dense attention and the decode of the rest; see the header. Split counts are FlashAttention-2's, which the
// dense attention of both methods calls: a segment with its queries is one sequence of a batch.
#include "scheduler/strategies/layers.h"

#include <fmt/core.h>

#include <algorithm>

#include "core/units.h"
#include "scheduler/strategies/level_merge.h"
#include "scheduler/strategies/split_rules.h"

namespace espalier::scheduler::planning {
namespace {

using core::ceil_div;

/// Rows of FlashAttention-2's tiles, which its rule counts with.
constexpr std::int32_t kRuleRows = 64;

class LayeredBuild {
 public:
  LayeredBuild(const PlanRequest& request, const LayeredMethod& method, const std::vector<Layer>& layers)
      : request_(request), method_(method), layers_(layers), builder_(request.forest, request.heads),
        published_(request.kernels == KernelSet::published) {}

  void run() {
    core::Column<RequestId, std::int32_t> levels(request_.forest.request_count(), 0);
    for (const Layer& layer : layers_) {
      for (const Run& segment : layer.segments) {
        for (RequestId r = segment.begin; r < segment.end; ++r.value) ++levels[r];
      }
    }
    std::vector<LaunchId> launches;
    std::vector<std::vector<LevelRow>> rows;
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      const std::vector<QueryTile> tiles = attend(layers_[l], static_cast<std::int32_t>(l), launches);
      if (!published_ || tiles.empty()) continue;
      const StepId merges = builder_.next_step();
      rows.push_back(settle_level(builder_, tiles, levels, dtype_));
      merge_launch(builder_, builder_.kernel(reduce_kernel(request_, method_.combine_kernel)), merges,
                   follow(layers_[l]), launches);
    }
    const KernelId join = builder_.kernel(reduce_kernel(request_, method_.join_kernel));
    if (!published_) return merge_rows(request_, builder_, {join, dtype_, Follow::graph, launches});
    const StepId first = builder_.next_step();
    join_levels(builder_, rows);
    merge_launch(builder_, join, first, method_.rest_follow, launches);
  }

  Plan finish(Provenance&& from) {
    from.graph_safe = !published_ || method_.dense_follow != Follow::stream;
    for (std::string& sentence : why_) from.why.push_back(std::move(sentence));
    return std::move(builder_).finish(std::move(from));
  }

 private:
  Follow follow(const Layer& layer) const {
    return !published_ ? Follow::graph : layer.dense ? method_.dense_follow : method_.rest_follow;
  }

  const costmodel::KernelConfig& layer_kernel(const Layer& layer, std::int64_t readers) const {
    if (!published_) return our_kernel(request_, readers * request_.heads.group());
    if (layer.dense) return published_kernel_by_dim(request_, "fa2_dense");
    return method_.rest_by_dim ? published_kernel_by_dim(request_, method_.rest_kernel)
                               : published_kernel(request_, method_.rest_kernel);
  }

  /// One launch: every segment, its queries in tiles, its tokens in the layer's splits.
  std::vector<QueryTile> attend(const Layer& layer, std::int32_t stream, std::vector<LaunchId>& launches) {
    std::vector<QueryTile> tiles;
    if (layer.segments.empty()) return tiles;
    const std::int32_t group = request_.heads.group();
    std::int64_t readers = 1, longest = 1;
    for (const Run& segment : layer.segments) {
      readers = std::max<std::int64_t>(readers, segment.readers());
      longest = std::max(longest, segment.chain.tokens);
    }
    const costmodel::KernelConfig& kernel = layer_kernel(layer, readers);
    dtype_ = kernel.partial_dtype;
    const std::int64_t copies = request_.heads.q_heads / (kernel.packs_heads ? group : 1);
    const std::int64_t rows = readers * (kernel.packs_heads ? group : 1);
    const std::int64_t work = static_cast<std::int64_t>(layer.segments.size()) * copies *
                              ceil_div(rows, std::max(kRuleRows, kernel.query_tile));
    const std::int64_t block = fa2_block_tokens(request_.heads.qk_dim), blocks = ceil_div(longest, block);
    const std::int64_t splits = fa2_splits(work, 2 * static_cast<std::int64_t>(request_.device.sms), blocks);
    const std::int64_t piece = ceil_div(blocks, splits) * block;

    std::vector<Box> boxes;
    const std::int32_t most = queries_per_tile(kernel, request_.heads);
    for (const Run& segment : layer.segments) {
      cut_boxes(segment.chain, builder_.queries(segment.begin, segment.end), {piece, most}, boxes);
    }
    const costmodel::KernelConfig* const kernels[] = {&kernel};
    const std::vector<LaunchId> made =
        launch_boxes(builder_, kernels, boxes, {follow(layer), !published_, published_ ? 0 : stream});
    launches.insert(launches.end(), made.begin(), made.end());
    for (const Box& box : boxes) {
      if (box.begin == 0) tiles.push_back({RequestId(box.queries.begin), RequestId(box.queries.end), {}});
      tiles.back().tasks.push_back(box.task);
    }
    why_.push_back(fmt::format(
        "{}: {} of up to {} tokens, {}, {} of {} tokens", layer.dense ? fmt::format("layer {}", stream) : "the rest",
        counted(static_cast<std::int64_t>(layer.segments.size()), "segment"), longest,
        layer.dense ? fmt::format("tiles of {} queries", most) : "a query each", counted(splits, "split"), piece));
    return tiles;
  }

  const PlanRequest& request_;
  const LayeredMethod& method_;
  const std::vector<Layer>& layers_;
  PlanBuilder builder_;
  bool published_;
  traces::Dtype dtype_ = traces::Dtype::fp32;
  std::vector<std::string> why_;
};

}  // namespace

Plan layered_plan(const PlanRequest& request, const StrategyInfo& info, const std::vector<Layer>& layers,
                  const LayeredMethod& method, std::string first) {
  LayeredBuild build(request, method, layers);
  build.run();
  Provenance from = provenance(info, request);
  from.why.push_back(std::move(first));
  return build.finish(std::move(from));
}

Layer rest_layer(const Runs& runs) {
  Layer rest{{}, false};
  for (const Run& run : runs.runs) {
    if (run.readers() == 1) rest.segments.push_back(run);
  }
  return rest;
}

}  // namespace espalier::scheduler::planning
