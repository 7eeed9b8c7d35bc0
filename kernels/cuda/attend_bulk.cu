// Attend kernels with loading warps and bulk copies, for sm_90 and up. Rows are padded by a chunk, as bulk copies can't
// swizzle.
#include "kernels/cuda/attend_bulk.h"
#include "kernels/cuda/attend_instance.h"

namespace espalier::kernels::ESPALIER_TARGET {
namespace {

constexpr int kPad = 16;
using Heads = HeadShape<Dtype::bf16, Dtype::bf16, 128, 128, false>;

template <class C>
constexpr AttendInstance bulk(const char* name) {
  return loading_instance<C>(name, &attend_bulk_kernel<C>, KernelPath::bulk);
}

const AttendInstance kInstances[] = {
    bulk<AttendConfig<Heads, 16, 64, 3, WarpGrid<1, 4, 1>, kPad>>("attend_bulk_d128_bf16_m16"),
    bulk<AttendConfig<Heads, 32, 64, 3, WarpGrid<2, 2, 1>, kPad>>("attend_bulk_d128_bf16_m32"),
    // Three stages would leave no room for a second block.
    bulk<AttendConfig<Heads, 64, 64, 2, WarpGrid<4, 1, 1>, kPad>>("attend_bulk_d128_bf16_m64"),
    bulk<AttendConfig<Heads, 128, 64, 2, WarpGrid<4, 1, 2>, kPad>>("attend_bulk_d128_bf16_m128"),
};

}  // namespace

std::span<const AttendInstance> attend_bulk() { return kInstances; }

}  // namespace espalier::kernels::ESPALIER_TARGET
