#include "apps/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>
#include <vector>

#include "apps/terminal.h"

namespace espalier::apps {

void for_each_case(const std::string& label, std::size_t count, std::int32_t jobs,
                   const std::function<void(std::size_t)>& body) {
  std::vector<std::exception_ptr> failures(count);
  Progress progress(label, count);
  std::atomic<std::size_t> next = 0;
  const auto work = [&] {
    for (std::size_t i = next++; i < count; i = next++) {
      try {
        body(i);
      } catch (...) {
        failures[i] = std::current_exception();
        next = count;
      }
      progress.step();
    }
  };
  const unsigned cores = std::max(1U, std::thread::hardware_concurrency());
  const std::size_t wanted = jobs > 0 ? static_cast<std::size_t>(jobs) : cores;
  {
    std::vector<std::jthread> threads;
    for (std::size_t t = 1; t < std::min(wanted, count); ++t) threads.emplace_back(work);
    work();
  }
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

}  // namespace espalier::apps
