// Attend kernels by products of warpgroups, for sm_90a.
#include "kernels/cuda/attend_instance.h"
#include "kernels/cuda/attend_wgmma.h"

namespace espalier::kernels::ESPALIER_TARGET {
namespace {

using Narrow = HeadShape<Dtype::bf16, Dtype::bf16, 64, 64, false>;
using Heads = HeadShape<Dtype::bf16, Dtype::bf16, 128, 128, false>;
using Halves = HeadShape<Dtype::fp16, Dtype::fp16, 128, 128, false>;

template <class C>
constexpr AttendInstance wgmma(const char* name) {
  return loading_instance<C>(name, &attend_wgmma_kernel<C>, KernelPath::wgmma);
}

// 64 rows of 128 columns: three stages are what two blocks of an SM have room for. 128 rows: one block, and a ring as
// deep as it may be useful.
const AttendInstance kInstances[] = {
    wgmma<WarpgroupConfig<Narrow, 64, 64, 3>>("attend_wgmma_d64_bf16_m64"),
    wgmma<WarpgroupConfig<Narrow, 128, 64, 4>>("attend_wgmma_d64_bf16_m128"),
    wgmma<WarpgroupConfig<Heads, 64, 64, 3>>("attend_wgmma_d128_bf16_m64"),
    wgmma<WarpgroupConfig<Heads, 128, 64, 4>>("attend_wgmma_d128_bf16_m128"),
    wgmma<WarpgroupConfig<Halves, 64, 64, 3>>("attend_wgmma_d128_fp16_m64"),
    wgmma<WarpgroupConfig<Halves, 128, 64, 4>>("attend_wgmma_d128_fp16_m128"),
};

}  // namespace

std::span<const AttendInstance> attend_wgmma() { return kInstances; }

}  // namespace espalier::kernels::ESPALIER_TARGET
