// Heads of 128 columns, fp16.
#include "kernels/cuda/attend_instance.h"

namespace espalier::kernels::ESPALIER_TARGET {
namespace {

using Heads = HeadShape<Dtype::fp16, Dtype::fp16, 128, 128, false>;

const AttendInstance kInstances[] = {
    instance<AttendConfig<Heads, 16, 64, 3, WarpGrid<1, 4, 1>>>("attend_d128_fp16_m16"),
    instance<AttendConfig<Heads, 32, 64, 3, WarpGrid<2, 2, 1>>>("attend_d128_fp16_m32"),
    instance<AttendConfig<Heads, 64, 64, 3, WarpGrid<4, 1, 1>>>("attend_d128_fp16_m64"),
    instance<AttendConfig<Heads, 128, 64, 2, WarpGrid<4, 1, 2>>>("attend_d128_fp16_m128"),
    // For devices with 99 KiB of shared memory a block.
    instance<AttendConfig<Heads, 16, 64, 2, WarpGrid<1, 4, 1>>>("attend_d128_fp16_m16_s2"),
    instance<AttendConfig<Heads, 32, 64, 2, WarpGrid<2, 2, 1>>>("attend_d128_fp16_m32_s2"),
    instance<AttendConfig<Heads, 64, 64, 2, WarpGrid<4, 1, 1>>>("attend_d128_fp16_m64_s2"),
    instance<AttendConfig<Heads, 128, 64, 2, WarpGrid<8, 1, 1>>>("attend_d128_fp16_m128_small"),
};

}  // namespace

std::span<const AttendInstance> attend_standard_fp16() { return kInstances; }

}  // namespace espalier::kernels::ESPALIER_TARGET
