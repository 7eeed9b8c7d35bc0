// espalier calibrate from files, as typed.
#include <gmock/gmock.h>

#include "command.h"

namespace espalier::apps {
namespace {

using testing::HasSubstr;

class Calibrate : public CommandTest {
 protected:
  void synthesize(const std::string& name, const std::string& options) const {
    const Result made = run("calibrate --synthesize " + options + " --out " + name);
    ASSERT_EQ(made.code, 0) << made.err;
  }
  /// Refused with these words, and nothing written.
  void expect_refused(const std::string& arguments, int code, std::initializer_list<const char*> words) const {
    const std::size_t before = files();
    const Result result = run("calibrate " + arguments + " --out device.json");
    EXPECT_EQ(result.code, code) << arguments << "\n" << result.err;
    for (const char* word : words) EXPECT_THAT(result.err, HasSubstr(word)) << arguments;
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(files(), before) << "something was written";
  }
  void replace(const std::string& name, const std::string& what, const std::string& with) const {
    std::string text = read(name);
    const auto at = text.find(what);
    ASSERT_NE(at, std::string::npos) << what;
    write(name, text.replace(at, what.size(), with));
  }
};

TEST_F(Calibrate, FindsTheDeviceThatMeasurementsWereMadeOf) {
  synthesize("m.json", "h100-sxm:hbm_latency_ns=700,l2_knee_mib=40,page_ns=20 --noise 0.01 --seed 5");
  const Result fit = run("calibrate --from m.json --out device.json");
  ASSERT_EQ(fit.code, 0) << fit.err;
  EXPECT_THAT(fit.out, HasSubstr("hbm_latency_ns"));
  EXPECT_THAT(fit.out, HasSubstr("24 of 24 rates and costs measured"));
  const Result listed = run("list devices ./device.json");
  EXPECT_EQ(listed.code, 0) << listed.err;
  EXPECT_THAT(listed.out, HasSubstr("measured"));
  const Result piped = run("calibrate --from - < m.json");
  EXPECT_EQ(piped.out, read("device.json"));
}

TEST_F(Calibrate, SynthesizesTheSameBytesForASeed) {
  synthesize("a.json", "a100-80 --seed 5");
  synthesize("b.json", "a100-80 --seed 5");
  synthesize("c.json", "a100-80 --seed 6");
  EXPECT_EQ(read("a.json"), read("b.json"));
  EXPECT_NE(read("a.json"), read("c.json"));
}

TEST_F(Calibrate, RefusesStrangersUnlessForced) {
  synthesize("a.json", "h100-sxm --seed 1");
  synthesize("b.json", "h100-sxm --seed 2");
  replace("b.json", "none: simulated", "570.1");
  expect_refused("--from a.json b.json", 3,
                 {"b.json: environment", "a.json", "driver none: simulated and 570.1", "--force"});
  EXPECT_EQ(run("calibrate --from a.json b.json --force --out device.json").code, 0);
  synthesize("c.json", "h200 --seed 1");
  expect_refused("--from a.json c.json", 3, {"c.json: environment", "device", "H100", "H200"});
  replace("a.json", "\"kernels\": \"", "\"kernels\": \"0");
  expect_refused("--from a.json", 3, {"a.json: environment.kernels", "kernel build"});
  expect_refused("--from c.json --base a100-80", 3, {"a100-80", "compute_capability", "reports"});
}

TEST_F(Calibrate, NamesBadMeasurements) {
  synthesize("m.json", "h100-sxm");
  const std::string good = read("m.json");
  for (const auto& [what, with, words] :
       {std::tuple("\"median_us\": [", "\"median_us\": [0,", "median_us[0]"),
        std::tuple("\"sms\": 132", "\"sms\": 0", "query.sms"), std::tuple("\"sms\": 132", "\"sms\": NaN", "m.json"),
        std::tuple("\"C21\"", "\"C99\"", "C99")}) {
    write("m.json", good);
    replace("m.json", what, with);
    expect_refused("--from m.json", 3, {"m.json", words});
  }
  write("m.json", good.substr(0, good.size() / 2));
  expect_refused("--from m.json", 3, {"m.json"});
  expect_refused("--from absent.json", 3, {"absent.json"});
  write(
      "m.json",
      R"({"schema": "measurement/1", "environment": {"device": "x", "driver": "y", "kernels": "z"}, "families": []})");
  expect_refused("--from m.json --force --base h100-sxm", 3, {"points", "none"});
  expect_refused("--from m.json --force", 2, {"--base"});
}

TEST_F(Calibrate, RefusesADeviceThatCantBe) {
  // Every L2 read a hundred times slower than memory.
  synthesize("m.json", "h100-sxm:l2_bytes_per_clk=1700 --noise 0.001");
  write("slow.json", R"({"schema": "device/1", "name": "slow", "base": "h100-sxm", "l2_bytes_per_clk": 100})");
  expect_refused("--from m.json --base ./slow.json", 3, {"slow.json", "L2 can't be slower than HBM"});
  write("none.json", R"({"schema": "device/1", "name": "none", "base": "h100-sxm", "sms": 0})");
  expect_refused("--from m.json --base ./none.json", 3, {"none.json", "sms", "0"});
  expect_refused("--synthesize h100-sxm:sms=0", 3, {"sms", "0"});
}

TEST_F(Calibrate, TakesOneSourceOnly) {
  expect_refused("--synthesize h100-sxm --from m.json", 2, {"one of"});
  expect_refused("--device host --from m.json", 2, {"one of"});
  expect_refused("--base h100-sxm", 2, {"--from"});
  expect_refused("--synthesize h101", 2, {"h101", "did you mean"});
  expect_refused("--synthesize h100-sxm --noise 2", 2, {"--noise"});
}

}  // namespace
}  // namespace espalier::apps
