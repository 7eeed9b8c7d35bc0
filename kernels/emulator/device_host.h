// The words of kernels/cuda/device.h for a host compiler: each is an operation of the emulator.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/emulator/operations.h"
#include "traces/head_config.h"

#define ESPALIER_KERNEL(threads, blocks_per_sm) void
#define ESPALIER_PARAMETER const
#define ESPALIER_DEVICE inline
// Small enough to name its caller by the return address of the operation in it.
#define ESPALIER_WORD [[gnu::always_inline]] inline
#define ESPALIER_UNROLL
#define ESPALIER_KEEP_LOOP
#define ESPALIER_BULK_COPIES 1

namespace espalier::kernels::on_host {

using traces::Dtype;
using SharedAddress = std::uint32_t;

ESPALIER_WORD std::uint32_t thread_index() { return emulator::place().thread; }
ESPALIER_WORD std::uint32_t block_index() { return emulator::place().block; }
ESPALIER_WORD std::uint32_t grid_blocks() { return emulator::place().blocks; }

template <class T>
ESPALIER_WORD T load_shared(SharedAddress at) {
  T value;
  emulator::load_shared_bytes(&value, at, {sizeof(T), sizeof(T)});
  return value;
}
template <class T>
ESPALIER_WORD void store_shared(SharedAddress at, const T& value) {
  emulator::store_shared_bytes(at, &value, {sizeof(T), sizeof(T)});
}
template <class T>
ESPALIER_WORD T load_global(const T* from) {
  T value;
  emulator::load_global_bytes(&value, from, {sizeof(T), alignof(T)});
  return value;
}
template <class T>
ESPALIER_WORD T load_fresh(const T* from) {
  T value;
  emulator::load_fresh_bytes(&value, from, {sizeof(T), sizeof(T)});
  return value;
}
template <class T>
ESPALIER_WORD void store_global(T* to, const T& value) {
  emulator::store_global_bytes(to, &value, {sizeof(T), alignof(T)});
}

ESPALIER_WORD void copy_async(SharedAddress at, const void* from) { emulator::copy_async(at, from); }
ESPALIER_WORD void clear_async(SharedAddress at) { emulator::copy_async(at, nullptr); }
ESPALIER_WORD void commit_copies() { emulator::commit_copies(); }
template <int kPending>
ESPALIER_WORD void wait_copies() {
  emulator::wait_copies(kPending);
}

template <int kThreads>
ESPALIER_WORD void block_sync() {
  emulator::block_barrier(0, kThreads);
}
template <int kId, int kThreads>
ESPALIER_WORD void team_barrier() {
  emulator::block_barrier(kId, kThreads);
}
ESPALIER_WORD void init_barrier(SharedAddress at, int arrivals) { emulator::init_barrier(at, arrivals); }
ESPALIER_WORD void arrive(SharedAddress barrier) { emulator::arrive(barrier, 0); }
ESPALIER_WORD void arrive_expecting(SharedAddress barrier, std::uint32_t bytes) { emulator::arrive(barrier, bytes); }
ESPALIER_WORD void wait_barrier(SharedAddress barrier, std::uint32_t parity) {
  emulator::wait_barrier(barrier, parity);
}
ESPALIER_WORD void copy_bulk(SharedAddress at, const void* from, std::uint32_t bytes, SharedAddress barrier) {
  emulator::copy_bulk(at, {from, bytes}, barrier);
}
ESPALIER_WORD void fence_engine() { emulator::fence_engine(); }
ESPALIER_WORD std::uint32_t cluster_rank() { return emulator::place().rank; }
ESPALIER_WORD void publish_barriers() { emulator::publish_barriers(); }
ESPALIER_WORD void cluster_sync() { emulator::cluster_barrier(); }
ESPALIER_WORD void arrive_in_block(SharedAddress barrier, std::uint32_t rank) {
  emulator::arrive_in_block(barrier, rank);
}
ESPALIER_WORD void copy_bulk_to_blocks(SharedAddress at, const void* from, std::uint32_t bytes, SharedAddress barrier,
                                       std::uint32_t blocks) {
  emulator::copy_bulk_to_blocks(at, {from, bytes}, barrier, blocks);
}
template <int kRegisters>
ESPALIER_WORD void shrink_registers() {}
template <int kRegisters>
ESPALIER_WORD void grow_registers() {}
ESPALIER_WORD void warp_sync() { emulator::warp_barrier(); }
ESPALIER_WORD void forget(int&) {}
ESPALIER_WORD void keep_order() {}

ESPALIER_WORD void load_matrices(std::uint32_t (&r)[4], SharedAddress row_at) {
  emulator::load_matrices(r, row_at, false);
}
ESPALIER_WORD void load_matrices_transposed(std::uint32_t (&r)[4], SharedAddress row_at) {
  emulator::load_matrices(r, row_at, true);
}

template <Dtype dtype>
ESPALIER_WORD void mma(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  const std::uint32_t b[2] = {b0, b1};
  emulator::multiply_accumulate(dtype == Dtype::bf16 ? emulator::MmaFormat::bf16 : emulator::MmaFormat::fp16,
                                {a, b, c});
}

template <class T>
ESPALIER_WORD T shuffle(T value, int from_lane) {
  static_assert(sizeof(T) == 4);
  return std::bit_cast<T>(emulator::shuffle_bits(std::bit_cast<std::uint32_t>(value), from_lane));
}
template <class T>
ESPALIER_WORD T shuffle_xor(T value, int mask) {
  return shuffle(value, static_cast<int>(thread_index() % 32U) ^ mask);
}
ESPALIER_WORD bool warp_any(bool value) { return emulator::warp_any(value); }

ESPALIER_WORD float exp2_fast(float x) {
  emulator::count_exp();
  return std::exp2(x);
}
ESPALIER_WORD float log2_fast(float x) { return std::log2(x); }

struct alignas(8) Pair {
  float low, high;
};
template <Dtype dtype>
ESPALIER_WORD std::uint32_t pack(float low, float high) {
  const auto bits = [](float x) -> std::uint32_t {
    return dtype == Dtype::bf16 ? emulator::float_to_bf16(x) : emulator::float_to_fp16(x);
  };
  return bits(low) | bits(high) << 16;
}
template <Dtype dtype>
ESPALIER_WORD Pair unpack(std::uint32_t pair) {
  const auto number = [](std::uint32_t bits) {
    const auto half = static_cast<std::uint16_t>(bits & 0xFFFFU);
    return dtype == Dtype::bf16 ? emulator::bf16_to_float(half) : emulator::fp16_to_float(half);
  };
  return {number(pair), number(pair >> 16)};
}
template <Dtype dtype>
ESPALIER_WORD void widen_fp8(std::uint32_t four, std::uint32_t& low, std::uint32_t& high) {
  const auto number = [&](unsigned i) {
    return emulator::fp8_e4m3_to_float(static_cast<std::uint8_t>(four >> 8 * i & 0xFFU));
  };
  low = pack<dtype>(number(0), number(1));
  high = pack<dtype>(number(2), number(3));
}

ESPALIER_WORD std::uint32_t atomic_add(std::uint32_t* at, std::uint32_t value) {
  return emulator::atomic_add_bits(at, value);
}
ESPALIER_WORD void fence() {}
ESPALIER_WORD std::uint32_t poll(const std::uint32_t* at) { return emulator::poll_word(at); }
ESPALIER_WORD std::uint64_t device_time_ns() { return emulator::next_moment(); }
ESPALIER_WORD std::uint32_t multiprocessor() { return 0; }

}  // namespace espalier::kernels::on_host
