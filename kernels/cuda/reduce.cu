// Merging of partial rows as a launch of its own: a warp a row, four a block.
#include "kernels/cuda/instances.h"
#include "kernels/cuda/merge.h"

namespace espalier::kernels::ESPALIER_TARGET {
namespace {

constexpr int kThreads = 128;

template <int kVDim>
ESPALIER_KERNEL(kThreads, 1)
reduce_kernel(ESPALIER_PARAMETER ReduceParams params) {
  stamp_begin(params.events.merges, static_cast<std::int32_t>(block_index()));
  const auto row = static_cast<std::int32_t>(block_index() * (kThreads / 32) + thread_index() / 32);
  if (row < params.rows) merge_numbered_row<kVDim>(params.plan, params.tensors, params.steps, params.step_count, row);
  stamp_block_end<kThreads>(params.events.merges, static_cast<std::int32_t>(block_index()));
}

const ReduceInstance kInstances[] = {
    {"reduce_v64", 64, kThreads, &reduce_kernel<64>},
    {"reduce_v128", 128, kThreads, &reduce_kernel<128>},
    {"reduce_v256", 256, kThreads, &reduce_kernel<256>},
    {"reduce_v512", 512, kThreads, &reduce_kernel<512>},
};

}  // namespace

std::span<const ReduceInstance> reduce_instances() { return kInstances; }

}  // namespace espalier::kernels::ESPALIER_TARGET
