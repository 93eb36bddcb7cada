select country, sum(monthly_fee) as fees from {{ ref('paying') }} group by country
