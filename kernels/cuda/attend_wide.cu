// Heads of 256 columns, bf16: warps split the value columns, or one warp's rows their tokens' scores.
#include "kernels/cuda/attend_instance.h"

namespace espalier::kernels::ESPALIER_TARGET {
namespace {

using Heads = HeadShape<Dtype::bf16, Dtype::bf16, 256, 256, false>;

const AttendInstance kInstances[] = {
    instance<AttendConfig<Heads, 16, 64, 3, WarpGrid<1, 1, 4>>>("attend_d256_bf16_m16"),
    instance<AttendConfig<Heads, 32, 64, 3, WarpGrid<2, 1, 2>>>("attend_d256_bf16_m32"),
    instance<AttendConfig<Heads, 64, 32, 3, WarpGrid<4, 1, 2>>>("attend_d256_bf16_m64"),
    instance<AttendConfig<Heads, 128, 32, 2, WarpGrid<4, 1, 2>>>("attend_d256_bf16_m128"),
    // For devices with 163 KiB of shared memory a block.
    instance<AttendConfig<Heads, 16, 64, 2, WarpGrid<1, 1, 4>>>("attend_d256_bf16_m16_s2"),
    instance<AttendConfig<Heads, 32, 64, 2, WarpGrid<2, 1, 2>>>("attend_d256_bf16_m32_s2"),
    // With 99 KiB.
    instance<AttendConfig<Heads, 16, 32, 2, WarpGrid<1, 1, 4>>>("attend_d256_bf16_m16_n32"),
    instance<AttendConfig<Heads, 32, 32, 2, WarpGrid<2, 1, 2>>>("attend_d256_bf16_m32_n32"),
};

}  // namespace

std::span<const AttendInstance> attend_wide() { return kInstances; }

}  // namespace espalier::kernels::ESPALIER_TARGET
