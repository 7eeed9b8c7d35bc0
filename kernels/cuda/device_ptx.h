// The words of kernels/cuda/device.h for nvcc: thin wrappers of PTX instructions of sm_80 and up.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "traces/head_config.h"

#define ESPALIER_KERNEL(threads, blocks_per_sm) __global__ void __launch_bounds__(threads, blocks_per_sm)
#define ESPALIER_PARAMETER const __grid_constant__
#define ESPALIER_DEVICE __device__ __forceinline__
#define ESPALIER_WORD __device__ __forceinline__
#define ESPALIER_UNROLL _Pragma("unroll")
#define ESPALIER_KEEP_LOOP _Pragma("unroll 1")

namespace espalier::kernels::on_cuda {

using traces::Dtype;
using SharedAddress = std::uint32_t;

// Swizzles of matrices that descriptors name repeat each 1024 bytes of the shared window.
extern __shared__ __align__(1024) unsigned char block_memory[];

ESPALIER_WORD std::uint32_t thread_index() { return threadIdx.x; }
ESPALIER_WORD std::uint32_t block_index() { return blockIdx.x; }
ESPALIER_WORD std::uint32_t grid_blocks() { return gridDim.x; }

/// Address in the shared window, as ldmatrix and cp.async want it.
ESPALIER_WORD std::uint32_t window(SharedAddress at) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(block_memory)) + at;
}

template <class T>
ESPALIER_WORD T load_shared(SharedAddress at) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 16);
  return *reinterpret_cast<const T*>(block_memory + at);
}
template <class T>
ESPALIER_WORD void store_shared(SharedAddress at, const T& value) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 16);
  *reinterpret_cast<T*>(block_memory + at) = value;
}
template <class T>
ESPALIER_WORD T load_global(const T* from) {
  return *from;
}
/// Past the first-level cache, which doesn't see what other SMs write.
template <class T>
ESPALIER_WORD T load_fresh(const T* from) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 16);
  T value;
  if constexpr (sizeof(T) == 4) {
    *reinterpret_cast<unsigned*>(&value) = __ldcg(reinterpret_cast<const unsigned*>(from));
  } else if constexpr (sizeof(T) == 8) {
    *reinterpret_cast<uint2*>(&value) = __ldcg(reinterpret_cast<const uint2*>(from));
  } else {
    *reinterpret_cast<uint4*>(&value) = __ldcg(reinterpret_cast<const uint4*>(from));
  }
  return value;
}
template <class T>
ESPALIER_WORD void store_global(T* to, const T& value) {
  *to = value;
}

ESPALIER_WORD void copy_async(SharedAddress at, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(window(at)), "l"(from) : "memory");
}
ESPALIER_WORD void clear_async(SharedAddress at) {
  // A source size of 0 reads nothing and fills with zeros, in the order of the group; the address is not looked at.
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, 0;" ::"r"(window(at)), "l"(static_cast<const void*>(nullptr))
               : "memory");
}
ESPALIER_WORD void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kPending>
ESPALIER_WORD void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

template <int kThreads>
ESPALIER_WORD void block_sync() {
  __syncthreads();
}
template <int kId, int kThreads>
ESPALIER_WORD void team_barrier() {
  asm volatile("bar.sync %0, %1;" ::"n"(kId), "n"(kThreads) : "memory");
}
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
#define ESPALIER_BULK_COPIES 1
ESPALIER_WORD void init_barrier(SharedAddress at, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(window(at)), "r"(arrivals) : "memory");
}
ESPALIER_WORD void arrive(SharedAddress barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(window(barrier)) : "memory");
}
ESPALIER_WORD void arrive_expecting(SharedAddress barrier, std::uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(window(barrier)), "r"(bytes) : "memory");
}
ESPALIER_WORD void wait_barrier(SharedAddress barrier, std::uint32_t parity) {
  std::uint32_t over = 0;
  while (over == 0) {
    asm volatile(
        "{\n"
        ".reg .pred over;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 over, [%1], %2;\n"
        "selp.u32 %0, 1, 0, over;\n"
        "}"
        : "=r"(over)
        : "r"(window(barrier)), "r"(parity)
        : "memory");
  }
}
ESPALIER_WORD void copy_bulk(SharedAddress at, const void* from, std::uint32_t bytes, SharedAddress barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(window(at)),
      "l"(from), "r"(bytes), "r"(window(barrier))
      : "memory");
}
ESPALIER_WORD void fence_engine() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

ESPALIER_WORD std::uint32_t cluster_rank() {
  std::uint32_t rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
ESPALIER_WORD void publish_barriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
ESPALIER_WORD void cluster_sync() {
  asm volatile(
      "barrier.cluster.arrive.release;\n"
      "barrier.cluster.wait.acquire;" ::
          : "memory");
}
/// At no wider scope than the block's, as CUTLASS arrives there; the ISA promises nothing of it to other blocks. What
/// was read of a stage has been read by now, and what comes there next comes by the engine. A release to the cluster
/// would be a fence of the device's memory, hundreds of cycles a warp and tile.
ESPALIER_WORD void arrive_in_block(SharedAddress barrier, std::uint32_t rank) {
  asm volatile(
      "{\n"
      ".reg .b32 there;\n"
      "mapa.shared::cluster.u32 there, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [there];\n"
      "}" ::"r"(window(barrier)),
      "r"(rank)
      : "memory");
}
ESPALIER_WORD void copy_bulk_to_blocks(SharedAddress at, const void* from, std::uint32_t bytes, SharedAddress barrier,
                                       std::uint32_t blocks) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1], %2, [%3], "
      "%4;" ::"r"(window(at)),
      "l"(from), "r"(bytes), "r"(window(barrier)), "h"(static_cast<std::uint16_t>(blocks))
      : "memory");
}
#endif
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define ESPALIER_REGISTER_SHARES 1
/// By all of a group of four warps: how many registers a thread it has from here on.
template <int kRegisters>
ESPALIER_WORD void shrink_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
ESPALIER_WORD void grow_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
#else
template <int kRegisters>
ESPALIER_WORD void shrink_registers() {}
template <int kRegisters>
ESPALIER_WORD void grow_registers() {}
#endif
ESPALIER_WORD void warp_sync() { __syncwarp(); }
ESPALIER_WORD void forget(int& x) { asm volatile("" : "+r"(x)); }
ESPALIER_WORD void keep_order() { asm volatile("" ::: "memory"); }

ESPALIER_WORD void load_matrices(std::uint32_t (&r)[4], SharedAddress row_at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(window(row_at))
               : "memory");
}
ESPALIER_WORD void load_matrices_transposed(std::uint32_t (&r)[4], SharedAddress row_at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(window(row_at))
               : "memory");
}

template <Dtype dtype>
ESPALIER_WORD void mma(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  if constexpr (dtype == Dtype::bf16) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, "
        "%2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    static_assert(dtype == Dtype::fp16);
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
        "%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

inline constexpr unsigned kAllLanes = 0xFFFFFFFFU;
template <class T>
ESPALIER_WORD T shuffle(T value, int from_lane) {
  static_assert(sizeof(T) == 4);
  return __shfl_sync(kAllLanes, value, from_lane);
}
template <class T>
ESPALIER_WORD T shuffle_xor(T value, int mask) {
  return __shfl_xor_sync(kAllLanes, value, mask);
}
ESPALIER_WORD bool warp_any(bool value) { return __any_sync(kAllLanes, value); }

ESPALIER_WORD float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
ESPALIER_WORD float log2_fast(float x) { return __log2f(x); }

struct alignas(8) Pair {
  float low, high;
};
template <Dtype dtype>
ESPALIER_WORD std::uint32_t pack(float low, float high) {
  std::uint32_t bits;
  if constexpr (dtype == Dtype::bf16) {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  } else {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  }
  return bits;
}
template <Dtype dtype>
ESPALIER_WORD Pair unpack(std::uint32_t pair) {
  if constexpr (dtype == Dtype::bf16) {
    return {__uint_as_float(pair << 16), __uint_as_float(pair & 0xFFFF0000U)};
  } else {
    const float2 both = __half22float2(*reinterpret_cast<const __half2*>(&pair));
    return {both.x, both.y};
  }
}
/// e4m3 bits stand at the top of a 16-bit number with the wrong bias; one exact product puts that right, subnormals
/// included.
template <Dtype dtype>
ESPALIER_WORD void widen_fp8(std::uint32_t four, std::uint32_t& low, std::uint32_t& high) {
  static_assert(dtype == Dtype::bf16);
  const auto place = [](std::uint32_t spread) { return (spread & 0x80008000U) | ((spread & 0x7F007F00U) >> 4); };
  const __nv_bfloat162 bias = __float2bfloat162_rn(0x1p120F);
  const auto scale = [&](std::uint32_t bits) {
    const __nv_bfloat162 product =
        __hfma2(*reinterpret_cast<const __nv_bfloat162*>(&bits), bias, __float2bfloat162_rn(-0.0F));
    return *reinterpret_cast<const std::uint32_t*>(&product);
  };
  low = scale(place(__byte_perm(four, 0, 0x1404)));
  high = scale(place(__byte_perm(four, 0, 0x3424)));
}

ESPALIER_WORD std::uint32_t atomic_add(std::uint32_t* at, std::uint32_t value) { return atomicAdd(at, value); }
/// Words are handed over here, never agreed on in one order for all: that would be a fence.sc, as __threadfence() is,
/// which takes longer.
ESPALIER_WORD void fence() { asm volatile("fence.acq_rel.gpu;" ::: "memory"); }
ESPALIER_WORD std::uint32_t poll(const std::uint32_t* at) {
  std::uint32_t value;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(at) : "memory");
  return value;
}
ESPALIER_WORD std::uint64_t device_time_ns() {
  std::uint64_t ns;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(ns)::"memory");
  return ns;
}
ESPALIER_WORD std::uint32_t multiprocessor() {
  std::uint32_t sm;
  asm volatile("mov.u32 %0, %smid;" : "=r"(sm));
  return sm;
}

}  // namespace espalier::kernels::on_cuda
