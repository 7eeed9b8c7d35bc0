// Kernels of attention by two products: scores, one softmax, values.
#include "kernels/cuda/instances.h"
#include "kernels/cuda/score_kernels.h"
#include "kernels/cuda/score_softmax.h"

namespace espalier::kernels::ESPALIER_TARGET {
namespace {

using scheduler::TaskKind;

template <class C>
constexpr AttendInstance product(TaskKind kind, const char* name, void (*kernel)(AttendParams)) {
  return {kind,     name,       C::kQueryDtype, C::kKvDtype,  C::kQkDim,   C::kVDim,        false,
          C::kRows, C::kTokens, C::kStages,     C::kWarpRows, C::kThreads, C::kSharedBytes, kernel};
}
template <Dtype q, Dtype kv, int kDim>
constexpr AttendInstance scores(const char* name) {
  return product<KeyTiles<q, kv, kDim>>(TaskKind::scores, name, &scores_kernel<q, kv, kDim>);
}
template <Dtype q, Dtype kv, int kDim>
constexpr AttendInstance values(const char* name) {
  return product<ValueTiles<q, kv, kDim>>(TaskKind::values, name, &values_kernel<q, kv, kDim>);
}
/// For all heads: it reads stored numbers alone.
constexpr AttendInstance softmax(const char* name) {
  return {TaskKind::softmax,   name,           Dtype::bf16, Dtype::bf16, 0, 0, false, 1, 1, 1, 1, kSoftmaxThreads,
          kSoftmaxSharedBytes, &softmax_kernel};
}

const AttendInstance kInstances[] = {
    scores<Dtype::bf16, Dtype::bf16, 64>("scores_d64_bf16"),
    scores<Dtype::bf16, Dtype::bf16, 128>("scores_d128_bf16"),
    scores<Dtype::bf16, Dtype::bf16, 256>("scores_d256_bf16"),
    scores<Dtype::fp16, Dtype::fp16, 128>("scores_d128_fp16"),
    scores<Dtype::bf16, Dtype::fp8_e4m3, 128>("scores_d128_fp8"),
    softmax("softmax_scores"),
    values<Dtype::bf16, Dtype::bf16, 64>("values_d64_bf16"),
    values<Dtype::bf16, Dtype::bf16, 128>("values_d128_bf16"),
    values<Dtype::bf16, Dtype::bf16, 256>("values_d256_bf16"),
    values<Dtype::fp16, Dtype::fp16, 128>("values_d128_fp16"),
    values<Dtype::bf16, Dtype::fp8_e4m3, 128>("values_d128_fp8"),
};

}  // namespace

std::span<const AttendInstance> products() { return kInstances; }

}  // namespace espalier::kernels::ESPALIER_TARGET
