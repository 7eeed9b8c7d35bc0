// Stackful fibers for the emulator: every CUDA thread is one, so that kernel code runs unchanged until it has to wait.
//
// Switching costs a few nanoseconds. A fiber that is dropped while it waits is never unwound: kernel code holds nothing
// that needs a destructor.
#pragma once

#include <cstddef>
#include <vector>

namespace espalier::kernels::emulator {

/// A stack and where its execution stands. The thread that starts fibers is a Fiber without a stack of its own.
struct Fiber {
  void* context = nullptr;
  void* stack = nullptr;  ///< lowest address
  std::size_t stack_bytes = 0;
  void* sanitizer_state = nullptr;
};

using FiberEntry = void (*)(void* argument);

/// Makes `fiber` begin with entry(argument) at the next switch to it. The entry never returns: its last act is leave().
void prepare(Fiber& fiber, FiberEntry entry, void* argument);
void switch_fiber(Fiber& from, Fiber& to);
/// As switch_fiber, for good: the sanitizer may forget the stack of `from`.
[[noreturn]] void leave(Fiber& from, Fiber& to);

/// Stacks that are handed out again and again: mapping one costs a hundred times what a launch of a warp does.
class StackPool {
 public:
  StackPool() = default;
  StackPool(const StackPool&) = delete;
  StackPool& operator=(const StackPool&) = delete;
  ~StackPool();
  void give(Fiber& fiber);
  void take_back(Fiber& fiber);

 private:
  std::vector<void*> slabs_, free_;
};

}  // namespace espalier::kernels::emulator
