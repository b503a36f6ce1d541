/* The operations of a program in C99, of which `export_c` writes down those it needs.

   Each works on one sample. x is read, y is written; they never overlap. An image is [C][H][W]. */

#include <math.h>

/* linear: y = W x + b for each of so many rows; without b where it is NULL. */
static void tnn_linear(const float *x, float *y, const tnn_weight *w, const tnn_weight *b,
                       int rows, int n_in, int n_out)
{
    for (int r = 0; r < rows; r++)
        for (int o = 0; o < n_out; o++) {
            float sum = b ? b[o] : 0.0f;
            for (int i = 0; i < n_in; i++)
                sum += w[o * n_in + i] * x[r * n_in + i];
            y[r * n_out + o] = sum;
        }
}

/* conv2d: a kernel w[F][C / groups][kh][kw] at every position of an image. */
static void tnn_conv2d(const float *x, float *y, const tnn_weight *w, const tnn_weight *b,
                       int c_in, int h_in, int w_in, int c_out, int h_out, int w_out,
                       int kh, int kw, int sh, int sw, int ph, int pw, int dh, int dw, int groups)
{
    int c_group = c_in / groups, f_group = c_out / groups;
    for (int f = 0; f < c_out; f++)
        for (int oh = 0; oh < h_out; oh++)
            for (int ow = 0; ow < w_out; ow++) {
                float sum = b ? b[f] : 0.0f;
                for (int c = 0; c < c_group; c++)
                    for (int i = 0; i < kh; i++)
                        for (int j = 0; j < kw; j++) {
                            int h = oh * sh + i * dh - ph, v = ow * sw + j * dw - pw;
                            if (h >= 0 && h < h_in && v >= 0 && v < w_in)
                                sum += w[((f * c_group + c) * kh + i) * kw + j]
                                     * x[((f / f_group * c_group + c) * h_in + h) * w_in + v];
                        }
                y[(f * h_out + oh) * w_out + ow] = sum;
            }
}

/* max_pool2d: the largest number of each window. A NaN in a window wins, as in NumPy. */
static void tnn_max_pool2d(const float *x, float *y,
                           int channels, int h_in, int w_in, int h_out, int w_out,
                           int kh, int kw, int sh, int sw, int ph, int pw, int dh, int dw)
{
    for (int c = 0; c < channels; c++)
        for (int oh = 0; oh < h_out; oh++)
            for (int ow = 0; ow < w_out; ow++) {
                float largest = -INFINITY;
                for (int i = 0; i < kh; i++)
                    for (int j = 0; j < kw; j++) {
                        int h = oh * sh + i * dh - ph, v = ow * sw + j * dw - pw;
                        if (h >= 0 && h < h_in && v >= 0 && v < w_in) {
                            float number = x[(c * h_in + h) * w_in + v];
                            if (number > largest || isnan(number))
                                largest = number;
                        }
                    }
                y[(c * h_out + oh) * w_out + ow] = largest;
            }
}

/* sum_pool2d: the sum of each window. */
static void tnn_sum_pool2d(const float *x, float *y,
                           int channels, int h_in, int w_in, int h_out, int w_out,
                           int kh, int kw, int sh, int sw, int ph, int pw, int dh, int dw)
{
    for (int c = 0; c < channels; c++)
        for (int oh = 0; oh < h_out; oh++)
            for (int ow = 0; ow < w_out; ow++) {
                float sum = 0.0f;
                for (int i = 0; i < kh; i++)
                    for (int j = 0; j < kw; j++) {
                        int h = oh * sh + i * dh - ph, v = ow * sw + j * dw - pw;
                        if (h >= 0 && h < h_in && v >= 0 && v < w_in)
                            sum += x[(c * h_in + h) * w_in + v];
                    }
                y[(c * h_out + oh) * w_out + ow] = sum;
            }
}

/* mean_of_pixels: one number a channel. */
static void tnn_mean_of_pixels(const float *x, float *y, int channels, int pixels)
{
    for (int c = 0; c < channels; c++) {
        float sum = 0.0f;
        for (int i = 0; i < pixels; i++)
            sum += x[c * pixels + i];
        y[c] = sum / (float)pixels;
    }
}

/* divide: the last axes, k numbers in all, by a number each. */
static void tnn_divide(const float *x, float *y, const tnn_weight *divisor, int n, int k)
{
    for (int i = 0; i < n; i++)
        y[i] = x[i] / divisor[i % k];
}

/* divide_by_size: by the root of the mean square, for each of so many rows. */
static void tnn_divide_by_size(const float *x, float *y, int rows, int n, float eps)
{
    for (int r = 0; r < rows; r++) {
        float square = 0.0f;
        for (int i = 0; i < n; i++)
            square += x[r * n + i] * x[r * n + i];
        float size = sqrtf(square / (float)n + eps);
        for (int i = 0; i < n; i++)
            y[r * n + i] = x[r * n + i] / size;
    }
}

/* embedding: a row of the table for each index, which comes as a float. */
static void tnn_embedding(const float *x, float *y, const tnn_weight *w, int n, int dim)
{
    for (int i = 0; i < n; i++)
        for (int k = 0; k < dim; k++)
            y[i * dim + k] = w[(int)x[i] * dim + k];
}

/* scale: the last axes, k numbers in all, times a factor each. */
static void tnn_scale(const float *x, float *y, const tnn_weight *factor, int n, int k)
{
    for (int i = 0; i < n; i++)
        y[i] = x[i] * factor[i % k];
}

/* shift: the last axes, k numbers in all, plus a number each. */
static void tnn_shift(const float *x, float *y, const tnn_weight *shift, int n, int k)
{
    for (int i = 0; i < n; i++)
        y[i] = x[i] + shift[i % k];
}

/* scale_and_shift: one factor and one shift a channel. */
static void tnn_scale_and_shift(const float *x, float *y, const tnn_weight *factor,
                                const tnn_weight *shift, int channels, int pixels)
{
    for (int c = 0; c < channels; c++)
        for (int i = 0; i < pixels; i++)
            y[c * pixels + i] = x[c * pixels + i] * factor[c] + shift[c];
}

/* standardize: mean 0 and variance 1 for each of so many rows. */
static void tnn_standardize(const float *x, float *y, int rows, int n, float eps)
{
    for (int r = 0; r < rows; r++) {
        const float *row = x + r * n;
        float mean = 0.0f, variance = 0.0f;
        for (int i = 0; i < n; i++)
            mean += row[i];
        mean /= (float)n;
        for (int i = 0; i < n; i++)
            variance += (row[i] - mean) * (row[i] - mean);
        float deviation = sqrtf(variance / (float)n + eps);
        for (int i = 0; i < n; i++)
            y[r * n + i] = (row[i] - mean) / deviation;
    }
}

/* relu */
static void tnn_relu(const float *x, float *y, int n)
{
    for (int i = 0; i < n; i++)
        y[i] = x[i] < 0.0f ? 0.0f : x[i];
}

/* leaky_relu */
static void tnn_leaky_relu(const float *x, float *y, int n, float negative_slope)
{
    for (int i = 0; i < n; i++)
        y[i] = x[i] < 0.0f ? negative_slope * x[i] : x[i];
}

/* prelu: one slope a channel. */
static void tnn_prelu(const float *x, float *y, const tnn_weight *slope, int channels, int pixels)
{
    for (int i = 0; i < channels * pixels; i++)
        y[i] = x[i] < 0.0f ? slope[i / pixels] * x[i] : x[i];
}

/* elu */
static void tnn_elu(const float *x, float *y, int n, float alpha)
{
    for (int i = 0; i < n; i++)
        y[i] = x[i] < 0.0f ? alpha * expm1f(x[i]) : x[i];
}

/* selu */
static void tnn_selu(const float *x, float *y, int n, float alpha, float scale)
{
    for (int i = 0; i < n; i++)
        y[i] = scale * (x[i] < 0.0f ? alpha * expm1f(x[i]) : x[i]);
}

/* gelu */
static void tnn_gelu(const float *x, float *y, int n)
{
    for (int i = 0; i < n; i++)
        y[i] = x[i] * 0.5f * erfcf(x[i] * -0.70710678f);
}

/* gelu_by_tanh */
static void tnn_gelu_by_tanh(const float *x, float *y, int n)
{
    for (int i = 0; i < n; i++) {
        float u = 0.79788456f * (x[i] + 0.044715f * x[i] * x[i] * x[i]);
        y[i] = x[i] * (0.5f + 0.5f * tanhf(u));
    }
}

/* sigmoid */
static void tnn_sigmoid(const float *x, float *y, int n)
{
    for (int i = 0; i < n; i++) {
        float e = expf(-fabsf(x[i]));
        y[i] = (x[i] < 0.0f ? e : 1.0f) / (1.0f + e);
    }
}

/* silu */
static void tnn_silu(const float *x, float *y, int n)
{
    for (int i = 0; i < n; i++) {
        float e = expf(-fabsf(x[i]));
        y[i] = x[i] * ((x[i] < 0.0f ? e : 1.0f) / (1.0f + e));
    }
}

/* softplus */
static void tnn_softplus(const float *x, float *y, int n, float beta)
{
    for (int i = 0; i < n; i++) {
        float z = beta * x[i];
        y[i] = ((z > 0.0f ? z : 0.0f) + log1pf(expf(-fabsf(z)))) / beta;
    }
}

/* clip */
static void tnn_clip(const float *x, float *y, int n, float min_val, float max_val)
{
    for (int i = 0; i < n; i++)
        y[i] = x[i] < min_val ? min_val : x[i] > max_val ? max_val : x[i];
}

/* tanh */
static void tnn_tanh(const float *x, float *y, int n)
{
    for (int i = 0; i < n; i++)
        y[i] = tanhf(x[i]);
}

/* softmax: along the middle one of three axes. */
static void tnn_softmax(const float *x, float *y, int outer, int n, int inner)
{
    for (int o = 0; o < outer; o++)
        for (int k = 0; k < inner; k++) {
            const float *row = x + o * n * inner + k;
            float *out = y + o * n * inner + k;
            float largest = row[0], sum = 0.0f;
            for (int i = 1; i < n; i++)
                largest = row[i * inner] > largest ? row[i * inner] : largest;
            for (int i = 0; i < n; i++)
                sum += out[i * inner] = expf(row[i * inner] - largest);
            for (int i = 0; i < n; i++)
                out[i * inner] /= sum;
        }
}

/* log_softmax: along the middle one of three axes. */
static void tnn_log_softmax(const float *x, float *y, int outer, int n, int inner)
{
    for (int o = 0; o < outer; o++)
        for (int k = 0; k < inner; k++) {
            const float *row = x + o * n * inner + k;
            float *out = y + o * n * inner + k;
            float largest = row[0], sum = 0.0f;
            for (int i = 1; i < n; i++)
                largest = row[i * inner] > largest ? row[i * inner] : largest;
            for (int i = 0; i < n; i++)
                sum += expf(row[i * inner] - largest);
            for (int i = 0; i < n; i++)
                out[i * inner] = row[i * inner] - largest - logf(sum);
        }
}

/* add */
static void tnn_add(const float *x, const float *z, float *y, int n)
{
    for (int i = 0; i < n; i++)
        y[i] = x[i] + z[i];
}

/* copy: a part of a longer array, so many numbers at a time. */
static void tnn_copy(const float *x, float *y, int outer, int n, int step)
{
    for (int o = 0; o < outer; o++)
        for (int i = 0; i < n; i++)
            y[o * step + i] = x[o * n + i];
}

/* transpose: two axes of lengths a and b, exchanged. */
static void tnn_transpose(const float *x, float *y, int outer, int a, int middle, int b, int inner)
{
    for (int o = 0; o < outer; o++)
        for (int i = 0; i < a; i++)
            for (int m = 0; m < middle; m++)
                for (int j = 0; j < b; j++)
                    for (int k = 0; k < inner; k++)
                        y[(((o * b + j) * middle + m) * a + i) * inner + k] =
                            x[(((o * a + i) * middle + m) * b + j) * inner + k];
}
