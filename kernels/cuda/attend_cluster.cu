// As attend_bulk.cu, for launches in clusters: blocks whose tasks read the same tokens load them together.
#include "kernels/cuda/attend_bulk.h"
#include "kernels/cuda/attend_instance.h"

namespace espalier::kernels::ESPALIER_TARGET {
namespace {

constexpr int kPad = 16;
using Heads = HeadShape<Dtype::bf16, Dtype::bf16, 128, 128, false>;

template <class Shape>
constexpr AttendInstance cluster(const char* name) {
  using C = ClusterConfig<Shape>;
  AttendInstance made = loading_instance<C>(name, &attend_cluster_kernel<C>, KernelPath::bulk);
  made.clusters = true;
  return made;
}

const AttendInstance kInstances[] = {
    cluster<AttendConfig<Heads, 16, 64, 3, WarpGrid<1, 4, 1>, kPad>>("attend_cluster_d128_bf16_m16"),
    cluster<AttendConfig<Heads, 32, 64, 3, WarpGrid<2, 2, 1>, kPad>>("attend_cluster_d128_bf16_m32"),
    cluster<AttendConfig<Heads, 64, 64, 2, WarpGrid<4, 1, 1>, kPad>>("attend_cluster_d128_bf16_m64"),
    cluster<AttendConfig<Heads, 128, 64, 2, WarpGrid<4, 1, 2>, kPad>>("attend_cluster_d128_bf16_m128"),
};

}  // namespace

std::span<const AttendInstance> attend_cluster() { return kInstances; }

}  // namespace espalier::kernels::ESPALIER_TARGET
