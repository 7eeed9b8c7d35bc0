// The two probes that are plans, since what they time are the kernels that plans run by.
#include <fmt/core.h>

#include <algorithm>

#include "costmodel/kernel_config.h"
#include "kernels/probe_plan.h"
#include "scheduler/plan_builder.h"

namespace espalier::kernels {
namespace {

constexpr std::int32_t kPageSize = 64;

traces::PrefixForest separate_requests(std::string name, std::int32_t requests, std::int64_t tokens) {
  traces::ForestSource source;
  source.name = std::move(name);
  source.page_size = kPageSize;
  for (std::int32_t i = 0; i < requests; ++i) {
    source.parent.push_back(-1);
    source.tokens.push_back(tokens);
    source.leaf.push_back(i);
  }
  return traces::make_forest(source);
}

}  // namespace

scheduler::Plan attention_cta_plan(std::int32_t items, std::int32_t tiles) {
  const costmodel::KernelConfig& kernel = costmodel::find_kernel("espalier_mma_m16");
  const std::int32_t tokens = kernel.kv_tile * tiles;
  const traces::PrefixForest forest =
      separate_requests(fmt::format("{} items of {} tiles", items, tiles), items, tokens);
  scheduler::PlanBuilder b(forest, traces::parse_heads("4/1/128"));
  const scheduler::KernelId attend = b.kernel(kernel);
  b.launch();
  std::vector<std::vector<scheduler::QueueItem>> queue(1);
  for (const auto r : core::ids<traces::RequestId>(forest.request_count())) {
    const auto group = b.queries(r, traces::RequestId(r.value + 1));
    queue[0].push_back({b.attend(attend, std::vector{b.segment(forest.leaf[r], 0, tokens, 1)}, group), 0});
  }
  b.task_phase(attend, scheduler::TaskId(0));
  b.queues(queue);
  b.finish_rows(traces::Dtype::fp32);
  return std::move(b).finish({});
}

scheduler::Plan merge_plan(std::int32_t splits, std::int32_t rows) {
  const traces::HeadConfig heads = traces::parse_heads("8/8/128");
  const traces::PrefixForest forest =
      separate_requests(fmt::format("{} rows in {} parts", rows, splits), std::max(1, rows / heads.q_heads), splits);
  scheduler::PlanBuilder b(forest, heads);
  const scheduler::KernelId attend = b.kernel(costmodel::find_kernel("espalier_mma_m16")),
                            reduce = b.kernel(costmodel::our_reduce_kernel());
  b.launch();
  for (const auto r : core::ids<traces::RequestId>(forest.request_count())) {
    const auto group = b.queries(r, traces::RequestId(r.value + 1));
    for (std::int32_t s = 0; s < splits; ++s) {
      b.attend(attend, std::vector{b.segment(forest.leaf[r], s, s + 1, 1)}, group);
    }
  }
  b.task_phase(attend, scheduler::TaskId(0));
  const scheduler::StepId first = b.finish_rows(traces::Dtype::fp32);
  b.launch();
  b.step_phase(reduce, first);
  return std::move(b).finish({});
}

}  // namespace espalier::kernels
