// The batch's changes, and the table of what each step gave.
#include "apps/decode_steps.h"

#include <fmt/core.h>

#include <algorithm>

#include "apps/plan_files.h"
#include "core/error.h"
#include "core/text.h"
#include "kernels/decode_loop.h"
#include "kernels/device_tensors.h"
#include "kernels/row_error.h"
#include "scheduler/batch_update.h"

namespace espalier::apps {
namespace {

using scheduler::Plan;
using traces::NodeId;
using traces::RequestId;

constexpr std::int32_t kStepsBetweenChanges = 4;

/// Requests that end where others go on have no node of their own to grow.
void decode_a_token(Plan& plan) {
  auto tokens = plan.forest.tokens;
  for (const NodeId leaf : plan.forest.leaf) {
    if (plan.forest.readers(leaf) == 1) ++tokens[leaf];
  }
  scheduler::grow(plan, tokens);
}

/// What became of the batch, for its line.
std::string change_batch(Plan& plan, std::int32_t step) {
  const std::string left = plan.forest.request_label[RequestId(0)];
  std::string text;
  if (scheduler::leave(plan, RequestId(0))) text = fmt::format("; request {} left", left);
  const NodeId root(0);
  const bool root_decodes = std::any_of(plan.forest.leaf.begin(), plan.forest.leaf.end(),
                                        [&](NodeId leaf) { return leaf == root && plan.forest.readers(leaf) == 1; });
  const scheduler::Newcomer newcomer{root_decodes ? NodeId() : root, step, fmt::format("newcomer {}", step)};
  if (scheduler::join(plan, newcomer)) text += fmt::format("; {} joined", newcomer.label);
  return text.empty() ? "; neither leave nor join without planning anew" : text;
}

kernels::DecodeLoop make_loop(const PlanFileCommand& command, const Plan& plan, const kernels::TensorSource& source,
                              traces::Dtype row_dtype) {
  const auto requests = static_cast<std::int32_t>(plan.forest.request_count());
  const std::int32_t changes = command.steps / kStepsBetweenChanges;
  const kernels::DecodeRoom room{
      2.0 + changes, requests + changes,
      kernels::cache_pages(plan.forest) + (std::int64_t{requests} + changes) * (std::int64_t{command.steps} + 1)};
  const auto path = kernels::kernel_path_of(command.kernel_path);
  if (command.backend == "cuda") {
    kernels::CudaOptions options;
    options.row_dtype = row_dtype;
    options.path = path;
    options.source = &source;
    return kernels::cuda_decode_loop({&plan, 1}, room, options);
  }
  kernels::EmulateOptions options;
  options.row_dtype = row_dtype;
  options.path = path.value_or(kernels::KernelPath::plain);
  options.machine.count_accesses = false;
  return kernels::emulated_decode_loop({&plan, 1}, room, source, options);
}

}  // namespace

int run_decode_steps(const PlanFileCommand& command, Plan plan) {
  const kernels::TensorSource source{command.seed};
  const traces::Dtype row_dtype = plan.heads.q_dtype;
  const kernels::DecodeLoop loop = make_loop(command, plan, source, row_dtype);
  print_statistics(plan);
  for (std::int32_t step = 1; step <= command.steps; ++step) {
    const std::string change = step % kStepsBetweenChanges == 0 ? change_batch(plan, step) : "";
    if (step > 1) decode_a_token(plan);
    const kernels::DecodeStep done = loop(plan);
    const kernels::RowError error =
        kernels::row_error(done.output, kernels::naive_attention(plan.forest, plan.heads, source));
    fmt::print("step {}: {}, {} of the plan copied, worst error of a row {:.2e}{}\n", step,
               core::counted(static_cast<std::int64_t>(plan.forest.request_count()), "request"),
               core::bytes_text(done.copied_bytes), error.worst, change);
    constexpr double kLseLimit = 2e-3;  // of scores in 16 bits; others are closer by far
    if (error.worst_lse > kLseLimit) {
      throw core::Error(
          core::ErrorKind::check_failed,
          fmt::format("step {}: a log-sum-exp differs from the oracle's by {:.3e}", step, error.worst_lse));
    }
    const double limit = kernels::row_tolerance(plan, row_dtype);
    if (error.worst > limit) {
      throw core::Error(core::ErrorKind::check_failed,
                        fmt::format("step {}: rows differ from the oracle by {:.3e} of a row's size (limit {:.0e})",
                                    step, error.worst, limit));
    }
  }
  fmt::print("{} through one set of launches, all rows right\n", core::counted(command.steps, "step"));
  return 0;
}

}  // namespace espalier::apps
