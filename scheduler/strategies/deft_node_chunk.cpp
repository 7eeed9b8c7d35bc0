// DeFT-Node-Chunk: nodes cut every 128 tokens. Source, what is faithful and what deviates: as deft_node.cpp.
#include "scheduler/strategies/deft_node.h"

namespace espalier::scheduler {
namespace planning {
namespace {

class DeftNodeChunk final : public Strategy {
 public:
  const StrategyInfo& info() const override {
    static const StrategyInfo kInfo{
        "deft_node_chunk",
        "one item a chunk of a node and group of queries",
        "DeFT-Node-Chunk (arXiv 2404.00242)",
        "at most 4000000 tasks and 16777216 partial rows; refuses head configurations whose tile fits no kernel of the "
        "set",
        false,
        {{"chunk", 128, 16, 65536, "tokens of a chunk"}, {"queries", 32, 1, 128, "most queries a task"}}};
    return kInfo;
  }

  PlanResult build(const PlanRequest& request) const override {
    if (request.forest.request_count() == 0) return empty_plan(info(), request);
    return refusable(
        [&] { return deft_node_plan(request, info(), static_cast<std::int64_t>(request.options.at("chunk"))); });
  }
};

}  // namespace
}  // namespace planning

const Strategy& deft_node_chunk_strategy() {
  static const planning::DeftNodeChunk kStrategy;
  return kStrategy;
}

}  // namespace espalier::scheduler
