// Work that isn't planning, away from the window: reading files, writing exports. In order, one after the other, on a
// thread of its own.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace espalier::viz {

/// What is left to do with the result where the window is; may be empty.
using Finish = std::function<void()>;
/// Runs on the errands' thread. Errors it throws are handed to whoever takes its result.
using Errand = std::function<Finish()>;

class Errands {
 public:
  /// `notify` is called on the errands' thread whenever one is done.
  explicit Errands(std::function<void()> notify);
  ~Errands();
  Errands(const Errands&) = delete;
  Errands& operator=(const Errands&) = delete;

  /// Never waits.
  void ask(Errand errand);
  /// Of those done since the last call, in the order asked. Calling one throws what its errand threw.
  std::vector<Finish> take();
  /// One is waited for, under way, or not taken yet.
  bool busy() const;

 private:
  void run(const std::stop_token& stop);
  std::function<void()> notify_;
  mutable std::mutex mutex_;
  std::condition_variable_any asked_;
  std::vector<Errand> waiting_;
  std::vector<Finish> done_;
  bool working_ = false;
  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace espalier::viz
