// Latent attention: keys of 576 columns whose first 512 are the values, bf16. Warps split the value columns.
#include "kernels/cuda/attend_instance.h"

namespace espalier::kernels::ESPALIER_TARGET {
namespace {

using Heads = HeadShape<Dtype::bf16, Dtype::bf16, 576, 512, true>;

const AttendInstance kInstances[] = {
    instance<AttendConfig<Heads, 16, 64, 2, WarpGrid<1, 1, 4>>>("attend_latent_bf16_m16"),
    instance<AttendConfig<Heads, 32, 32, 2, WarpGrid<2, 1, 4>>>("attend_latent_bf16_m32"),
    instance<AttendConfig<Heads, 64, 32, 2, WarpGrid<2, 1, 4>>>("attend_latent_bf16_m64"),
    // For devices with 99 KiB of shared memory a block.
    instance<AttendConfig<Heads, 16, 32, 2, WarpGrid<1, 1, 4>>>("attend_latent_bf16_m16_n32"),
};

}  // namespace

std::span<const AttendInstance> attend_latent() { return kInstances; }

}  // namespace espalier::kernels::ESPALIER_TARGET
