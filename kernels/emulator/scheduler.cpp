// Picks fibers, starts and retires blocks, tells deadlocks.
#include "kernels/emulator/scheduler.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>

#include "core/error.h"

namespace espalier::kernels::emulator {
namespace {

thread_local Scheduler* active_scheduler = nullptr;
/// Polls in a row, a live thread, after which nobody is believed to make progress.
constexpr std::int64_t kPatience = 1000;

/// One scheduler runs at a time on a thread.
struct Activation {
  explicit Activation(Scheduler& scheduler) {
    ESPALIER_CHECK(active_scheduler == nullptr);
    active_scheduler = &scheduler;
  }
  Activation(const Activation&) = delete;
  Activation& operator=(const Activation&) = delete;
  ~Activation() { active_scheduler = nullptr; }
};

}  // namespace

Scheduler& active() { return *active_scheduler; }

void Scheduler::fail(const std::string& sentence) const {
  const Thread& t = *current_;
  throw core::Error(core::ErrorKind::check_failed, fmt::format("{}, block {}, thread {}: {}", shape_->kernel,
                                                               t.warp->block->index, t.index, sentence));
}

Thread* Scheduler::pick() {
  if (ready_.empty() || failure_) return nullptr;
  Thread* next = nullptr;
  switch (options().order) {
    case Order::forward:
      next = ready_.front();
      ready_.pop_front();
      break;
    case Order::shuffled:
      std::swap(ready_[static_cast<std::size_t>(rng_.bits() % ready_.size())], ready_.back());
      [[fallthrough]];
    case Order::backward:
      next = ready_.back();
      ready_.pop_back();
      break;
  }
  return next;
}

void Scheduler::switch_to(Thread* next) {
  Thread& self = *current_;
  if (next == &self) return;
  current_ = next;
  switch_fiber(self.fiber, next == nullptr ? main_ : next->fiber);
}

void Scheduler::wait(const char* at) {
  current_->waits_at = at;
  switch_to(pick());
}

void Scheduler::wake(Thread& thread) {
  thread.waits_at = nullptr;
  ready_.push_back(&thread);
}

void Scheduler::poll() {
  if (++polls_ > kPatience * static_cast<std::int64_t>(blocks_.size() * shape_->threads)) {
    fail("waits for something that never comes");
  }
  // Pollers go where they are picked last.
  if (options().order == Order::forward) {
    ready_.push_back(current_);
  } else {
    ready_.push_front(current_);
  }
  switch_to(pick());
}

void Scheduler::maybe_interleave() {
  if (options().order != Order::shuffled || ready_.empty()) return;
  ready_.push_back(current_);
  switch_to(pick());
}

void Scheduler::thread_entry(void* scheduler) {
  auto& s = *static_cast<Scheduler*>(scheduler);
  Thread& self = *s.current_;
  try {
    (*s.body_)();
    leave_cluster();
  } catch (...) {
    if (!s.failure_) s.failure_ = std::current_exception();
  }
  self.done = true;
  s.progress();
  const bool last = --self.warp->block->live == 0;
  s.current_ = last ? nullptr : s.pick();
  leave(self.fiber, s.current_ == nullptr ? s.main_ : s.current_->fiber);
}

void Scheduler::start_block(std::uint32_t index, const std::shared_ptr<Cluster>& cluster) {
  auto block = std::make_unique<Block>();
  block->index = index;
  block->rank = static_cast<std::uint32_t>(cluster->blocks.size());
  block->cluster = cluster;
  cluster->blocks.push_back(block.get());
  block->live = shape_->threads;
  cluster->live += shape_->threads;
  SharedPlace place{.warps = static_cast<int>(shape_->threads) / kLanes};
  place.first = static_cast<int>(block->rank) * place.count();
  block->shared = std::make_unique<SharedMemory>(shape_->shared_bytes, place, cluster->clocks);
  for (std::uint32_t t = 0; t < shape_->threads; ++t) {
    const int lane = static_cast<int>(t) % kLanes;
    if (lane == 0) {
      block->warps.push_back(std::make_unique<Warp>());
      block->warps.back()->block = block.get();
      block->warps.back()->index = static_cast<int>(t) / kLanes;
      block->warps.back()->id = place.first + block->warps.back()->index;
    }
    auto thread = std::make_unique<Thread>();
    thread->warp = block->warps.back().get();
    thread->lane = lane;
    thread->index = t;
    thread->warp->lanes[static_cast<std::size_t>(lane)] = thread.get();
    stacks_.give(thread->fiber);
    prepare(thread->fiber, &thread_entry, this);
    ready_.push_back(thread.get());
    block->threads.push_back(std::move(thread));
  }
  block->warpgroups.resize(block->warps.size() / kGroupWarps);
  blocks_.push_back(std::move(block));
  ++counters().blocks;
}

void Scheduler::start_blocks() {
  const auto most = shape_->cooperative ? std::size_t{shape_->blocks}
                                        : static_cast<std::size_t>(std::max(options().resident_blocks, 1));
  const auto together = static_cast<std::size_t>(shape_->cluster);
  const int entries = static_cast<int>(shape_->cluster * (shape_->threads / kLanes + 1));
  while (!to_start_.empty() && (blocks_.empty() || blocks_.size() + together <= most)) {
    const auto cluster = std::make_shared<Cluster>(entries);
    for (std::uint32_t rank = 0; rank < shape_->cluster; ++rank) {
      start_block(to_start_.back() * shape_->cluster + rank, cluster);
    }
    to_start_.pop_back();
  }
}

void Scheduler::retire_finished() {
  std::erase_if(blocks_, [&](const std::unique_ptr<Block>& block) {
    if (block->live > 0) return false;
    for (auto& warp : block->warps) warp->accesses.finish();
    for (auto& thread : block->threads) stacks_.take_back(thread->fiber);
    block->cluster->blocks[block->rank] = nullptr;
    return true;
  });
}

void Scheduler::drop_all() {
  for (auto& block : blocks_) {
    for (auto& thread : block->threads) stacks_.take_back(thread->fiber);
  }
  blocks_.clear();
  ready_.clear();
  to_start_.clear();
}

std::string Scheduler::deadlock() const {
  for (const auto& block : blocks_) {
    std::map<std::string, int> waiting;
    for (const auto& thread : block->threads) {
      if (!thread->done) ++waiting[thread->waits_at == nullptr ? "?" : thread->waits_at];
    }
    if (waiting.empty()) continue;
    std::string sentence = fmt::format("{}, block {}: threads wait for ever:", shape_->kernel, block->index);
    for (const auto& [at, count] : waiting) sentence += fmt::format(" {} at {},", count, at);
    return sentence + fmt::format(" {} have ended", shape_->threads - block->live);
  }
  return fmt::format("{}: nothing can run", shape_->kernel);
}

void Scheduler::run(const LaunchShape& shape, const std::function<void()>& body) {
  ESPALIER_CHECK(shape.threads > 0 && shape.threads <= 1024 && shape.threads % kLanes == 0);
  ESPALIER_CHECK(shape.cluster > 0 && shape.cluster <= kMostClusterBlocks && shape.blocks % shape.cluster == 0);
  const Activation activation(*this);
  shape_ = &shape;
  body_ = &body;
  failure_ = nullptr;
  polls_ = 0;
  rng_ = core::Rng(options().seed);
  ++counters().launches;
  memory().begin_launch(shape.blocks);
  for (std::uint32_t b = shape.blocks / shape.cluster; b-- > 0;) to_start_.push_back(b);
  if (options().order == Order::backward) std::reverse(to_start_.begin(), to_start_.end());
  if (options().order == Order::shuffled) {
    for (std::size_t i = to_start_.size(); i > 1; --i) {
      std::swap(to_start_[i - 1], to_start_[static_cast<std::size_t>(rng_.bits() % i)]);
    }
  }
  start_blocks();
  while (!blocks_.empty() && !failure_) {
    current_ = pick();
    if (current_ == nullptr) {
      failure_ = std::make_exception_ptr(core::Error(core::ErrorKind::check_failed, deadlock()));
      break;
    }
    switch_fiber(main_, current_->fiber);
    retire_finished();
    start_blocks();
  }
  drop_all();
  if (failure_) std::rethrow_exception(failure_);
}

}  // namespace espalier::kernels::emulator
