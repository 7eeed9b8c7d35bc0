// Fibers on Boost.Context's lowest layer, with the annotations that AddressSanitizer needs to follow a switch of
// stacks.
#include "kernels/emulator/fiber.h"

#include <sys/mman.h>

#include <boost/context/detail/fcontext.hpp>
#include <new>

#include "core/error.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace espalier::kernels::emulator {
namespace {

namespace context = boost::context::detail;

#if defined(__SANITIZE_ADDRESS__)
constexpr std::size_t kStackBytes = 256 * 1024;  // red zones and unoptimised frames
#else
constexpr std::size_t kStackBytes = 64 * 1024;
#endif
constexpr std::size_t kGuardBytes = 4096;  // below each slab: a process has too few mappings for one a stack
constexpr std::size_t kSlabStacks = 64;

/// What travels with a jump: who left, who arrives, and (first arrival only) what to run.
struct Arrival {
  Fiber* from;
  Fiber* to;
};

struct Start {
  FiberEntry entry;
  void* argument;
};

void before_jump([[maybe_unused]] Fiber& from, [[maybe_unused]] Fiber& to, [[maybe_unused]] bool for_good) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(for_good ? nullptr : &from.sanitizer_state, to.stack, to.stack_bytes);
#endif
}

void after_jump(context::transfer_t transfer) {
  const auto* arrival = static_cast<const Arrival*>(transfer.data);
  Fiber& from = *arrival->from;
  from.context = transfer.fctx;
#if defined(__SANITIZE_ADDRESS__)
  const void* bottom = nullptr;
  std::size_t bytes = 0;
  __sanitizer_finish_switch_fiber(arrival->to->sanitizer_state, &bottom, &bytes);
  if (from.stack == nullptr) {  // the starting thread's own stack, learnt when it is first left
    from.stack = const_cast<void*>(bottom);
    from.stack_bytes = bytes;
  }
#endif
}

void begin(context::transfer_t transfer) {
  // The starting record lies at the top of this stack, above the first frame.
  const auto* arrival = static_cast<const Arrival*>(transfer.data);
  auto* top = static_cast<std::byte*>(arrival->to->stack) + arrival->to->stack_bytes;
  const Start start = *reinterpret_cast<const Start*>(top - sizeof(Start));
  after_jump(transfer);
  start.entry(start.argument);
}

}  // namespace

void prepare(Fiber& fiber, FiberEntry entry, void* argument) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(fiber.stack, fiber.stack_bytes);  // frames of a fiber that was dropped while it waited
#endif
  auto* top = static_cast<std::byte*>(fiber.stack) + fiber.stack_bytes;
  new (top - sizeof(Start)) Start{entry, argument};
  constexpr std::size_t kReserved = 64;
  static_assert(sizeof(Start) <= kReserved);
  fiber.context = context::make_fcontext(top - kReserved, fiber.stack_bytes - kReserved, &begin);
  fiber.sanitizer_state = nullptr;
}

void switch_fiber(Fiber& from, Fiber& to) {
  Arrival arrival{&from, &to};
  before_jump(from, to, false);
  after_jump(context::jump_fcontext(to.context, &arrival));
}

void leave(Fiber& from, Fiber& to) {
  Arrival arrival{&from, &to};
  before_jump(from, to, true);
  context::jump_fcontext(to.context, &arrival);
  ESPALIER_CHECK(!"a fiber that left is not resumed");
  __builtin_unreachable();
}

StackPool::~StackPool() {
  for (void* slab : slabs_) munmap(slab, kGuardBytes + kSlabStacks * kStackBytes);
}

void StackPool::give(Fiber& fiber) {
  if (free_.empty()) {
    constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void* slab = mmap(nullptr, kGuardBytes + kSlabStacks * kStackBytes, PROT_READ | PROT_WRITE, kFlags, -1, 0);
    if (slab == MAP_FAILED) throw std::bad_alloc();
    mprotect(slab, kGuardBytes, PROT_NONE);
    slabs_.push_back(slab);
    for (std::size_t i = kSlabStacks; i-- > 0;) {
      free_.push_back(static_cast<std::byte*>(slab) + kGuardBytes + i * kStackBytes);
    }
  }
  fiber.stack = free_.back();
  fiber.stack_bytes = kStackBytes;
  free_.pop_back();
}

void StackPool::take_back(Fiber& fiber) {
  if (fiber.stack != nullptr) free_.push_back(fiber.stack);
  fiber.stack = nullptr;
}

}  // namespace espalier::kernels::emulator
