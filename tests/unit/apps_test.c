/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The programs' strict option values, the texts made from values, and which ports are paired.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "kernel_pins.h"
#include "pairing.h"
#include "parse.h"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

static void sizes_are_bytes_with_one_suffix(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{"0", 0},
		{"4096", 4096},
		{"4k", 4096},
		{"4K", 4096},
		{"6M", 6291456},
		{"1g", UINT64_C(1) << 30},
		{"18446744073709551615", UINT64_MAX},
		{"17179869183G", UINT64_MAX - (UINT64_C(1) << 30) + 1},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		uint64_t bytes = 1;

		assert_int_equal(parse_size(good[i].text, &bytes), 0);
		assert_true(bytes == good[i].bytes);
	}
}

static void sizes_refuse_everything_else(void **state)
{
	static const struct {
		const char *text;
		int err;
	} bad[] = {
		{"", -EINVAL},
		{"k", -EINVAL},
		{"8k3", -EINVAL},
		{"8kk", -EINVAL},
		{"8 k", -EINVAL},
		{" 8", -EINVAL},
		{"8 ", -EINVAL},
		{"-1", -EINVAL},
		{"+1", -EINVAL},
		{"0x10", -EINVAL},
		{"1.5M", -EINVAL},
		{"8T", -EINVAL},
		{"18446744073709551616", -ERANGE},
		{"99999999999999999999999", -ERANGE},
		{"17179869184G", -ERANGE},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		uint64_t bytes = 77;

		assert_int_equal(parse_size(bad[i].text, &bytes), bad[i].err);
		assert_true(bytes == 77);
	}
}

static void numbers_keep_to_their_range(void **state)
{
	uint64_t value = 77;

	(void)state;
	assert_int_equal(parse_number("512", 1, 512, &value), 0);
	assert_true(value == 512);
	assert_int_equal(parse_number("513", 1, 512, &value), -ERANGE);
	assert_int_equal(parse_number("0", 1, 512, &value), -ERANGE);
	assert_int_equal(parse_number("5x", 1, 512, &value), -EINVAL);
	assert_int_equal(parse_number("-5", 1, 512, &value), -EINVAL);
	assert_int_equal(parse_number("", 0, 512, &value), -EINVAL);
	assert_int_equal(parse_number("18446744073709551616", 0, UINT64_MAX, &value), -ERANGE);
	assert_true(value == 512);
}

static void seconds_have_three_decimals_at_most(void **state)
{
	uint64_t ms = 77;

	(void)state;
	assert_int_equal(parse_seconds("10", &ms), 0);
	assert_true(ms == 10000);
	assert_int_equal(parse_seconds("0.5", &ms), 0);
	assert_true(ms == 500);
	assert_int_equal(parse_seconds("1.001", &ms), 0);
	assert_true(ms == 1001);
	assert_int_equal(parse_seconds("0", &ms), 0);
	assert_true(ms == 0);
	assert_int_equal(parse_seconds("1.0001", &ms), -EINVAL);
	assert_int_equal(parse_seconds("1.", &ms), -EINVAL);
	assert_int_equal(parse_seconds(".5", &ms), -EINVAL);
	assert_int_equal(parse_seconds("1s", &ms), -EINVAL);
	assert_int_equal(parse_seconds("1e3", &ms), -EINVAL);
	assert_int_equal(parse_seconds("inf", &ms), -EINVAL);
	assert_int_equal(parse_seconds("1000000001", &ms), -ERANGE);
	assert_int_equal(parse_seconds("99999999999999999999999", &ms), -ERANGE);
	assert_true(ms == 0);
}

static void macs_are_six_bytes_of_two_digits(void **state)
{
	static const uint8_t expected[MAC_LEN] = {0x02, 0x00, 0xab, 0xCD, 0xef, 0x09};
	static const char *const bad[] = {"", "02:00:ab:cd:ef", "02:00:ab:cd:ef:09:", "2:0:a:c:e:9",
		"02-00-ab-cd-ef-09", "02:00:ab:cd:ef:0g", "02:00:ab:cd:ef:09 "};
	uint8_t mac[MAC_LEN] = {0};
	char text[FORMAT_MAX];

	(void)state;
	assert_int_equal(parse_mac("02:00:ab:CD:ef:09", mac), 0);
	assert_memory_equal(mac, expected, MAC_LEN);
	assert_string_equal(format_mac(text, mac), "02:00:ab:cd:ef:09");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(parse_mac(bad[i], mac), -EINVAL);
	assert_memory_equal(mac, expected, MAC_LEN);
}

static bool is_a_or_bc(const char *name, size_t len)
{
	return (len == 1 && *name == 'a') || (len == 2 && strncmp(name, "bc", 2) == 0);
}

static void lists_are_known_if_every_name_is(void **state)
{
	static const char *const good[] = {"a", "bc", "a,bc", "bc,a,bc", "bc,"};
	static const char *const bad[] = {
		"", ",", ",a", "a,,bc", "a,b", "b", "bcd", "a,d,bc", "a, bc", "a:x"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_true(names_known(good[i], is_a_or_bc));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(names_known(bad[i], is_a_or_bc));
}

static void sizes_are_written_exactly_or_with_a_decimal(void **state)
{
	char text[FORMAT_MAX];

	(void)state;
	assert_string_equal(format_size(text, 0), "0 bytes");
	assert_string_equal(format_size(text, 1023), "1023 bytes");
	assert_string_equal(format_size(text, 4096), "4 KiB");
	assert_string_equal(format_size(text, 6291456), "6 MiB");
	assert_string_equal(format_size(text, 6291456 + 4096), "6.004 MiB");
	assert_string_equal(format_size(text, 2176), "2.125 KiB");
	assert_string_equal(format_size(text, UINT64_MAX), "16777216.000 TiB");
}

static void ports_are_paired_and_the_last_one_loops(void **state)
{
	(void)state;
	assert_int_equal(pairing_peer(0, 1), 0);
	assert_int_equal(pairing_peer(0, 2), 1);
	assert_int_equal(pairing_peer(1, 2), 0);
	assert_int_equal(pairing_peer(0, 3), 1);
	assert_int_equal(pairing_peer(2, 3), 2);
	assert_int_equal(pairing_peer(2, 4), 3);
	assert_int_equal(pairing_peer(3, 4), 2);
}

static void the_kernels_pins_are_read(void **state)
{
	char whole[] = "12 1000 a\\040b mm wxfe 5 4 9\n", least[] = "0 4294967295  user r 0 0 0",
	     latin[] = "1 0 \351t\351 user re 1 1 1\n";
	struct kernel_pin pin;

	(void)state;
	assert_int_equal(kernel_pin_parse(whole, &pin), 0);
	assert_int_equal(pin.pid, 12);
	assert_int_equal(pin.uid, 1000);
	assert_string_equal(pin.program, "a\\040b");
	assert_true(!pin.user && pin.write && pin.exclusive && pin.file && pin.exempt);
	assert_true(pin.pages == 5 && pin.pinned == 4 && pin.owner_charged == 9);
	/* A process may call itself nothing at all. */
	assert_int_equal(kernel_pin_parse(least, &pin), 0);
	assert_string_equal(pin.program, "");
	assert_true(pin.user && pin.uid == UINT32_MAX && !pin.write && !pin.exempt);
	assert_int_equal(kernel_pin_parse(latin, &pin), 0);
	assert_string_equal(pin.program, "?t?");
	assert_true(pin.exempt && !pin.exclusive);
}

static void other_lines_are_not(void **state)
{
	static const char *const bad[] = {"", "\n", KERNEL_PINS_HEADER, "1 2 a mm r 1 1",
		"1 2 a mm r 1 1 1 ", "1 2 a mm r 1 1 1 1", "-1 2 a mm r 1 1 1",
		"1 4294967296 a mm r 1 1 1", "1 2 a none r 1 1 1", "1 2 a mm  1 1 1",
		"1 2 a mm x 1 1 1", "1 2 a mm rz 1 1 1", "1 2 a mm r 1 1 0x1",
		"1 2 a mm r 1 9223372036854775808 1",
		"1 2 "
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		" mm r 1 1 1"};
	struct kernel_pin pin;
	char line[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		strcpy(line, bad[i]);
		assert_int_equal(kernel_pin_parse(line, &pin), -EINVAL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_are_bytes_with_one_suffix),
		cmocka_unit_test(sizes_refuse_everything_else),
		cmocka_unit_test(numbers_keep_to_their_range),
		cmocka_unit_test(seconds_have_three_decimals_at_most),
		cmocka_unit_test(macs_are_six_bytes_of_two_digits),
		cmocka_unit_test(lists_are_known_if_every_name_is),
		cmocka_unit_test(sizes_are_written_exactly_or_with_a_decimal),
		cmocka_unit_test(ports_are_paired_and_the_last_one_loops),
		cmocka_unit_test(the_kernels_pins_are_read),
		cmocka_unit_test(other_lines_are_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
