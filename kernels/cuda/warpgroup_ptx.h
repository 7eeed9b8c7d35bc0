// The words of products of a warpgroup (kernels/cuda/device.h) for nvcc: wgmma, of sm_90a alone. Elsewhere they are
// empty, as are the kernels that are made of them.
//
// Registers pass through empty statements ahead of fences and behind waits: a compiler knows of nothing else that keeps
// it from reading sums, or from using left factors' registers for something else, while products are under way.
#pragma once

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define ESPALIER_WARPGROUPS 1
#define ESPALIER_GROUP_ASM(...) asm volatile(__VA_ARGS__)
#else
#define ESPALIER_GROUP_ASM(...)
#endif

namespace espalier::kernels::on_cuda {

ESPALIER_WORD std::uint32_t shared_window(SharedAddress at) { return window(at); }
ESPALIER_WORD void arrive_when_copied(SharedAddress barrier) {
  ESPALIER_GROUP_ASM("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(window(barrier)) : "memory");
}

template <int kTiles>
ESPALIER_WORD void hold(float (&sums)[kTiles][4]) {
  ESPALIER_UNROLL
  for (int n = 0; n < kTiles; ++n) {
    ESPALIER_GROUP_ASM("" : "+f"(sums[n][0]), "+f"(sums[n][1]), "+f"(sums[n][2]), "+f"(sums[n][3])::"memory");
  }
}
template <int kBlocks>
ESPALIER_WORD void hold(std::uint32_t (&left)[kBlocks][4]) {
  ESPALIER_UNROLL
  for (int b = 0; b < kBlocks; ++b) {
    ESPALIER_GROUP_ASM("" : "+r"(left[b][0]), "+r"(left[b][1]), "+r"(left[b][2]), "+r"(left[b][3])::"memory");
  }
}
template <class... Registers>
ESPALIER_WORD void group_fence(Registers&... registers) {
  (hold(registers), ...);
  ESPALIER_GROUP_ASM("wgmma.fence.sync.aligned;" ::: "memory");
}
ESPALIER_WORD void group_commit() { ESPALIER_GROUP_ASM("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kPending, class... Registers>
ESPALIER_WORD void group_wait(Registers&... registers) {
  ESPALIER_GROUP_ASM("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
  (hold(registers), ...);
}

#define ESPALIER_SUMS4(n) "+f"(sums[n][0]), "+f"(sums[n][1]), "+f"(sums[n][2]), "+f"(sums[n][3])
#define ESPALIER_SUMS16(n) ESPALIER_SUMS4(n), ESPALIER_SUMS4(n + 1), ESPALIER_SUMS4(n + 2), ESPALIER_SUMS4(n + 3)
#define ESPALIER_SUMS64 ESPALIER_SUMS16(0), ESPALIER_SUMS16(4)
#define ESPALIER_SUMS128 ESPALIER_SUMS64, ESPALIER_SUMS16(8), ESPALIER_SUMS16(12)
#define ESPALIER_LIST64                                                                                            \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, " \
  "%24, %25, "                                                                                                     \
  "%26, %27, %28, %29, %30, %31"
#define ESPALIER_LIST128                                                                         \
  ESPALIER_LIST64                                                                                \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, " \
  "%50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"

// Left factor by descriptor, both K-major; the operands behind `columns / 2` sums are left, right, and whether sums are
// added to.
#define ESPALIER_MULTIPLY_SHARED(columns, type, left_at, right_at, more_at)                                            \
  ESPALIER_GROUP_ASM("{\n.reg .pred more;\nsetp.ne.b32 more, " more_at                                                 \
                     ", 0;\n"                                                                                          \
                     "wgmma.mma_async.sync.aligned.m64n" #columns "k16.f32." type "." type " {" ESPALIER_LIST##columns \
                     "}, " left_at ", " right_at ", more, 1, 1, 0, 0;\n}"                                              \
                     : ESPALIER_SUMS##columns                                                                          \
                     : "l"(left), "l"(right), "r"(static_cast<std::uint32_t>(accumulate)))
// Left factor in registers, the right one MN-major.
#define ESPALIER_MULTIPLY_REGISTERS(columns, type, left_at, right_at)                                                  \
  ESPALIER_GROUP_ASM("wgmma.mma_async.sync.aligned.m64n" #columns "k16.f32." type "." type " {" ESPALIER_LIST##columns \
                     "}, {" left_at "}, " right_at ", 1, 1, 1, 1;"                                                     \
                     : ESPALIER_SUMS##columns                                                                          \
                     : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "l"(right))

template <Dtype dtype>
ESPALIER_WORD void group_multiply(float (&sums)[8][4], std::uint64_t left, std::uint64_t right, bool accumulate) {
  static_assert(dtype == Dtype::bf16 || dtype == Dtype::fp16);
  if constexpr (dtype == Dtype::bf16) {
    ESPALIER_MULTIPLY_SHARED(64, "bf16", "%32", "%33", "%34");
  } else {
    ESPALIER_MULTIPLY_SHARED(64, "f16", "%32", "%33", "%34");
  }
}
template <Dtype dtype>
ESPALIER_WORD void group_multiply(float (&sums)[8][4], const std::uint32_t (&left)[4], std::uint64_t right) {
  if constexpr (dtype == Dtype::bf16) {
    ESPALIER_MULTIPLY_REGISTERS(64, "bf16", "%32, %33, %34, %35", "%36");
  } else {
    ESPALIER_MULTIPLY_REGISTERS(64, "f16", "%32, %33, %34, %35", "%36");
  }
}
template <Dtype dtype>
ESPALIER_WORD void group_multiply(float (&sums)[16][4], const std::uint32_t (&left)[4], std::uint64_t right) {
  if constexpr (dtype == Dtype::bf16) {
    ESPALIER_MULTIPLY_REGISTERS(128, "bf16", "%64, %65, %66, %67", "%68");
  } else {
    ESPALIER_MULTIPLY_REGISTERS(128, "f16", "%64, %65, %66, %67", "%68");
  }
}

#undef ESPALIER_MULTIPLY_REGISTERS
#undef ESPALIER_MULTIPLY_SHARED
#undef ESPALIER_LIST128
#undef ESPALIER_LIST64
#undef ESPALIER_SUMS128
#undef ESPALIER_SUMS64
#undef ESPALIER_SUMS16
#undef ESPALIER_SUMS4

}  // namespace espalier::kernels::on_cuda
